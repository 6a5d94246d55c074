/* A module of another project that calls voxkern's kernels: blur.mean(volume, out, size) puts the
   mean of the size^3 voxels around each voxel, those beyond the edges left out, into out. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "voxkern.h"

static const voxkern_api *voxkern;

/* The error of voxkern.h; needs no GIL. */
static int mean(const ptrdiff_t size[3], const double *volume, ptrdiff_t width, double *out) {
    ptrdiff_t shape[5] = {1, 1, size[0], size[1], size[2]};
    voxkern_window window;
    for (int i = 0; i < 3; i++) {
        window.kernel[i] = width;
        window.stride[i] = window.dilation[i] = 1;
        window.before[i] = window.after[i] = width / 2;
    }
    return voxkern->avg_pool(sizeof *volume, shape, volume, &window, 0, 0, 0,
                             voxkern->num_threads(), out);
}

static int is_volume(const Py_buffer *view) {
    return view->ndim == 3 && view->format && view->format[0] == 'd' && !view->format[1];
}

static PyObject *blur_mean(PyObject *module, PyObject *arguments) {
    PyObject *from, *to;
    Py_buffer volume, out;
    Py_ssize_t width;
    int error = VOXKERN_OK, fits;
    if (!PyArg_ParseTuple(arguments, "OOn", &from, &to, &width)) return NULL;
    if (PyObject_GetBuffer(from, &volume, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
    if (PyObject_GetBuffer(to, &out, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE)) {
        PyBuffer_Release(&volume);
        return NULL;
    }
    fits = is_volume(&volume) && is_volume(&out) && (width & 1) &&
           volume.shape[0] == out.shape[0] && volume.shape[1] == out.shape[1] &&
           volume.shape[2] == out.shape[2];
    if (fits) {
        Py_BEGIN_ALLOW_THREADS;
        error = mean(volume.shape, volume.buf, width, out.buf);
        Py_END_ALLOW_THREADS;
    }
    PyBuffer_Release(&volume);
    PyBuffer_Release(&out);
    if (!fits) PyErr_SetString(PyExc_ValueError, "two float64 volumes of one shape, an odd size");
    else if (error) PyErr_SetString(PyExc_ValueError, voxkern->message(error));
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"mean", blur_mean, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "blur", NULL, -1, methods};

PyMODINIT_FUNC PyInit_blur(void) {
    voxkern = voxkern_import();
    return voxkern ? PyModule_Create(&definition) : NULL;
}
