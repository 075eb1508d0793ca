// What libhdf5 needs to know before the first file: no plugins, and the filters' names.
#ifndef LAMINA_HDF5_PREPARATION_H
#define LAMINA_HDF5_PREPARATION_H

// Once per process, under the library's lock. 0 or -1.
int lamina_hdf5_prepare(void);

#endif
