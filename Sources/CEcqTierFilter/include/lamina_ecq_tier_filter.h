// The plugin for HDF5 filter 44555.
#ifndef LAMINA_ECQ_TIER_FILTER_H
#define LAMINA_ECQ_TIER_FILTER_H

#include "lamina_tier_filters.h"

#endif
