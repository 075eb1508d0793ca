// The plugin for HDF5 filter 44554.
#ifndef LAMINA_EXP_TIER_FILTER_H
#define LAMINA_EXP_TIER_FILTER_H

#include "lamina_tier_filters.h"

#endif
