#include "lamina_exp_tier_filter.h"

int H5PLget_plugin_type(void) {
    return 0;
}

const void *H5PLget_plugin_info(void) {
    return lamina_exp_tier_filter();
}
