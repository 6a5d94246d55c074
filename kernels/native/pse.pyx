"""Transitions of every pixel of a video, and their counts; see pse.h for how."""

from cpython.buffer cimport PyBUF_STRIDED_RO, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "pse.h" nogil:
    enum:
        WORD, MOST_LANES, MOST_LIGHTS, LUMINANCE, RAMP, TABLES
    ctypedef struct Plane:
        const uint8_t *start
        Py_ssize_t row, step
        int across, down
    ctypedef struct Picture:
        Plane plane[3]
    ctypedef struct Format:
        int32_t planes, most, y0, c0, y, rv, gu, gv, bu, shift, black, top
    ctypedef struct Light:
        const double *table
        const uint16_t *coarse
        Py_ssize_t size
        double weight[3]
        double scale, exponent
        uint16_t black, white, spread
        uint16_t linear[3]
        uint16_t square[3]
        uint16_t cube[3]
        uint16_t less[3]
    ctypedef struct Lane:
        int kind, light, levels
        int32_t still
        double change, dark, factor
        uint16_t least, sure, sure_dark, exempt
        const double *table
        double rows[6][3]
        double share, floor, far, white_u, white_v
        uint16_t black, ratio, red_floor
        uint64_t *state
        uint64_t *ring
        Py_ssize_t stride
        uint64_t *marks
        int limit
        uint64_t *many
        uint64_t *many_marks
        uint16_t *extreme
        uint16_t *direction
    ctypedef struct Screen:
        uint8_t steps[TABLES][16]
        uint16_t black, ratio, floor
        int32_t cr_least, cr_slope, y0
    ctypedef struct Scene:
        Py_ssize_t width, height, row_words, words, row_stretches
        int padded
        const Format *format
        const Picture *now
        const Picture *before
        int befores, lane_count, light_count, ramps
        Lane *lanes
        const Light *lights
        int32_t still
        const Screen *screen
        uint8_t *notes
        const uint8_t **noted
        const int64_t *recent
        const int64_t *expired
        Py_ssize_t expired_count, slot
    void step_rows(const Scene *s, Py_ssize_t begin, Py_ssize_t end, int64_t *done)
    ctypedef struct Slots:
        const uint64_t *ring
        const uint64_t *marks
        const int64_t *slots
        Py_ssize_t count
    void fold_rows(const Scene *s, const Picture *source, int fold, Py_ssize_t begin,
                   Py_ssize_t end, uint8_t *out)
    int64_t gather_rows(const Scene *s, const Lane *lane, const Slots *slots, int n, int step,
                        Py_ssize_t begin, Py_ssize_t end, uint64_t *mask)
    void sum_luminance(const Scene *s, Py_ssize_t across, Py_ssize_t down, double *sums)
    ctypedef struct Windows:
        const uint64_t *mask
        Py_ssize_t row_words, width, height, window_width, window_height
        int32_t *bounds
        int32_t *sums
        int64_t best, enough, x, y
    void fullest_window(Windows *w)
    int64_t rough_window(const Windows *w)


cdef require(bint right, str what):
    if not right:
        raise ValueError(what)


cdef class Watch:
    """Lanes of transitions over frames of one size and format.

    `format` holds the fields of Format. Each of `lights` is a tuple (table, coarse, numbers of
    float64, integers); each of `lanes` (kind, light, table, numbers, integers); see light.py.
    `steps` and `reds` are the fields of Screen; lanes of ramps watch each so many rows.
    """

    cdef Format format
    cdef Light lights[MOST_LIGHTS]
    cdef Lane lanes[MOST_LANES]
    cdef Screen screen
    cdef Scene scene
    cdef list kept
    cdef readonly int slots
    cdef int fold

    def __init__(self, Py_ssize_t width, Py_ssize_t height, int fold,
                 const int64_t[::1] format, list lights,
                 list lanes, const uint8_t[:, ::1] steps, const int64_t[::1] reds, int ramps):
        require(len(lights) <= MOST_LIGHTS and len(lanes) <= MOST_LANES, "too many profiles")
        cdef Scene *s = &self.scene
        s.width, s.height, s.row_words = width, height, (width + WORD - 1) // WORD
        s.words = s.row_words * height
        self.fold, s.padded = fold, fold > 0
        s.row_stretches = (s.row_words + WORD - 1) // WORD
        self.format = Format(format[0], format[1], format[2], format[3], format[4], format[5],
                             format[6], format[7], format[8], format[9], format[10], format[11])
        s.format, s.lanes, s.lights = &self.format, self.lanes, self.lights
        s.screen = &self.screen
        require(steps.shape[0] == TABLES and steps.shape[1] == 16 and reds.shape[0] == 6,
                "no screen")
        memcpy(self.screen.steps, &steps[0, 0], sizeof(self.screen.steps))
        self.screen.black, self.screen.ratio, self.screen.floor = reds[0], reds[1], reds[2]
        self.screen.cr_least, self.screen.cr_slope, self.screen.y0 = reds[3], reds[4], reds[5]
        s.lane_count, s.light_count = len(lanes), len(lights)
        self.kept = [lights, lanes]
        cdef int i
        for i in range(s.light_count):
            self._set_light(&self.lights[i], lights[i][0], lights[i][1], lights[i][2], lights[i][3])
        s.still, s.ramps = 1 << 30, ramps
        for i in range(s.lane_count):
            self._set_lane(&self.lanes[i], lanes[i][0], lanes[i][1], lanes[i][2], lanes[i][3],
                           lanes[i][4])
            if self.lanes[i].kind == LUMINANCE:
                s.still = min(s.still, self.lanes[i].still)

    def __reduce__(self):
        raise TypeError("a Watch holds the state of a video and cannot be pickled")

    cdef _set_light(self, Light *light, const double[::1] table, const uint16_t[::1] coarse,
                    const double[::1] numbers, const int64_t[::1] integers):
        light.table, light.coarse, light.size = &table[0], &coarse[0], table.shape[0]
        light.scale, light.exponent = numbers[3], numbers[4]
        light.black, light.white, light.spread = integers[0], integers[1], integers[2]
        cdef int c
        for c in range(3):
            light.weight[c] = numbers[c]
            light.linear[c], light.square[c] = integers[3 + c], integers[6 + c]
            light.cube[c], light.less[c] = integers[9 + c], integers[12 + c]

    cdef _set_lane(self, Lane *lane, int kind, int light, const double[::1] table,
                   const double[::1] numbers, const int64_t[::1] integers):
        lane.kind, lane.light, lane.table, lane.still = kind, light, &table[0], integers[0]
        cdef int i
        if kind in (LUMINANCE, RAMP):
            lane.change, lane.dark, lane.factor = numbers[0], numbers[1], numbers[2]
            lane.least, lane.sure = integers[1], integers[2]
            lane.sure_dark, lane.exempt = integers[3], integers[4]
            return
        lane.share, lane.floor, lane.far = numbers[0], numbers[1], numbers[2]
        lane.white_u, lane.white_v = numbers[3], numbers[4]
        lane.black, lane.ratio, lane.red_floor = integers[1], integers[2], integers[3]
        for i in range(18):
            lane.rows[i // 3][i % 3] = numbers[5 + i]

    def hold(self, list states):
        """Use the arrays (state, ring, marks, many, marks of many, limit) of each lane.

        state is (words, 2 + bits of a count); ring and many are (slots, words), marks (slots,
        stretches of 64 words of the rows), all of uint64. A lane of ramps has one more, (2, pixels of
        its rows in whole words) of uint16.
        """
        cdef uint16_t[:, ::1] turns
        cdef uint64_t[:, ::1] state, ring, marks, many, many_marks
        cdef Lane *lane
        cdef int i
        for i, (state, ring, marks, many, many_marks, limit, *more) in enumerate(states):
            lane = &self.lanes[i]
            if lane.kind == RAMP:
                turns = more[0]
                require(self.scene.ramps > 0 and turns.shape[1]
                        >= (self.scene.height + self.scene.ramps - 1) // self.scene.ramps
                        * self.scene.row_words * WORD, "a state has another size")
                lane.extreme, lane.direction = &turns[0, 0], &turns[1, 0]
            require(state.shape[0] == ring.shape[1] == many.shape[1] == self.scene.words
                    and ring.shape[0] == many.shape[0] == marks.shape[0] == many_marks.shape[0]
                    and marks.shape[1] == many_marks.shape[1]
                    == self.scene.height * self.scene.row_stretches and state.shape[1] > 2,
                    "a state has another size")
            lane.marks, lane.many_marks = &marks[0, 0], &many_marks[0, 0]
            lane.state, lane.stride = &state[0, 0], state.shape[1]
            lane.levels, lane.limit = <int>state.shape[1] - 2, limit
            lane.ring, lane.many, self.slots = &ring[0, 0], &many[0, 0], ring.shape[0]
        self.kept = [*self.kept[:2], states]

    def step(self, list pictures, list notes, const int64_t[::1] recent,
             const int64_t[::1] expired, Py_ssize_t slot, int64_t[:, :, ::1] done):
        """Take a frame, the first of `pictures`; the others are those before it, the last one first.

        A picture is a tuple of planes. `notes` has an array of a byte for each word for each picture;
        that of the frame is filled. `recent` has slots of the ring, from the last frame backwards;
        `expired` those that leave; the new one goes to `slot`. Each part of the rows has a thread and a
        row of `done`, whose sum is, for each lane, its transitions and those of pixels that then had
        made too many.
        """
        cdef Scene *s = &self.scene
        cdef Py_ssize_t part, height = s.height, count = len(pictures)
        cdef int parts = <int>done.shape[0]
        cdef bytearray room = bytearray(count * sizeof(Picture))
        cdef Picture *all_pictures = <Picture *> <void *> <char *> room
        cdef bytearray note_room = bytearray(count * sizeof(uint8_t *))
        cdef uint8_t **noted = <uint8_t **> <void *> <char *> note_room
        cdef uint8_t[::1] note
        require(0 < count == len(notes), "notes and pictures differ in number")
        for i, note in enumerate(notes):
            require(note.shape[0] == s.words, "notes have another size")
            noted[i] = &note[0]
        s.notes, s.noted = noted[0], <const uint8_t **> (noted + 1)
        require((s.lane_count == 0 or 0 <= slot < self.slots) and recent.shape[0] >= count - 2,
                "no slot")
        require(done.shape[1] == s.lane_count and done.shape[2] == 2, "done has another shape")
        for i, planes in enumerate(pictures):
            self._describe(planes, 0, all_pictures + <Py_ssize_t> i)
        s.now, s.before, s.befores = all_pictures, all_pictures + 1, count - 1
        s.recent = &recent[0] if recent.shape[0] else NULL
        s.expired = &expired[0] if expired.shape[0] else NULL
        s.expired_count, s.slot = expired.shape[0], slot
        for part in prange(parts, nogil=True, num_threads=parts, schedule="static"):
            step_rows(s, height * part // parts, height * (part + 1) // parts, &done[part, 0, 0])

    def cells(self, tuple planes, uint8_t[:, :, ::1] out, int threads):
        """The cells of a picture into out, (planes, rows, bytes of a row of whole words)."""
        cdef Picture whole
        cdef Scene *s = &self.scene
        cdef Py_ssize_t part, size = 1 if self.format.most < 256 else 2
        cdef int parts = threads
        require(out.shape[0] == self.format.planes and out.shape[1] == s.height
                and out.shape[2] == s.row_words * WORD * size, "out has another shape")
        self._describe(planes, self.fold, &whole)
        for part in prange(parts, nogil=True, num_threads=parts, schedule="static"):
            fold_rows(s, &whole, self.fold, s.height * part // parts,
                      s.height * (part + 1) // parts, &out[0, 0, 0])

    cdef _describe(self, tuple planes, int fold, Picture *out):
        """Where the planes of a picture are, which its owner must hold."""
        cdef Py_buffer view
        cdef Py_ssize_t i, height = self.scene.height << fold, width = self.scene.width << fold
        cdef bint fits
        require(len(planes) == self.format.planes, "a picture has other planes")
        memset(out, 0, sizeof(Picture))
        for i in range(len(planes)):
            PyObject_GetBuffer(planes[i], &view, PyBUF_STRIDED_RO)
            fits = view.ndim == 2 and view.itemsize == (1 if self.format.most < 256 else 2)
            if fits and i == 0:
                fits = view.shape[0] >= height and view.shape[1] >= width
                height, width = view.shape[0], view.shape[1]
            if fits:
                out.plane[i].start = <const uint8_t *> view.buf
                out.plane[i].row, out.plane[i].step = view.strides[0], view.strides[1]
                out.plane[i].down, out.plane[i].across = view.shape[0] < height, view.shape[1] < width
            PyBuffer_Release(&view)
            require(fits, "a plane has another shape or type")

    def luminance(self, tuple planes, Py_ssize_t across, Py_ssize_t down, double[::1] sums):
        """Sums by each light of the luminance of every `across`-th pixel of every `down`-th row."""
        cdef Picture now
        cdef Scene *s = &self.scene
        require(across > 0 and down > 0 and sums.shape[0] == s.light_count, "sums has another length")
        self._describe(planes, 0, &now)
        s.now = &now
        with nogil:
            sum_luminance(s, across, down, &sums[0])

    def gather(self, int lane, const int64_t[::1] slots, int n, int step, bint many,
               uint64_t[::1] mask, int threads):
        """Bits of the pixels in any of the slots whose count is at least n; how many there are.

        Of those that turned, or of those that then had made too `many` transitions; mask has every
        `step`-th row.
        """
        cdef Scene *s = &self.scene
        cdef Lane *of = &self.lanes[lane]
        cdef Slots chosen
        cdef Py_ssize_t part, i
        cdef int64_t total = 0
        cdef Py_ssize_t rows = (s.height + step - 1) // step
        cdef int parts = threads
        require(0 <= lane < s.lane_count and step > 0 and mask.shape[0] == rows * s.row_words,
                "mask has another length")
        for i in range(slots.shape[0]):
            require(0 <= slots[i] < self.slots, "no slot")
        if slots.shape[0] == 0:
            mask[:] = 0
            return 0
        chosen.ring = of.many if many else of.ring
        chosen.marks = of.many_marks if many else of.marks
        chosen.slots, chosen.count = &slots[0], slots.shape[0]
        for part in prange(parts, nogil=True, num_threads=parts, schedule="static"):
            total += gather_rows(s, of, &chosen, n, step, rows * part // parts,
                                 rows * (part + 1) // parts, &mask[0])
        return total


def window(const uint64_t[::1] mask, Py_ssize_t width, Py_ssize_t height, Py_ssize_t window_width,
           Py_ssize_t window_height, int64_t floor, int32_t[::1] scratch, bint rough=False,
           bint any=False):
    """Most bits in any window of a mask, if more than floor, and the window's x and y; or floor.

    Or those of any window that has more.

    scratch has 66 numbers for every word of a row and 192 more. A rough answer comes from windows
    of whole words.
    """
    cdef Windows w
    w.mask, w.row_words = &mask[0], (width + WORD - 1) // WORD
    w.width, w.height, w.window_width, w.window_height = width, height, window_width, window_height
    require(mask.shape[0] >= w.row_words * height and scratch.shape[0] >= 66 * w.row_words + 192
            and 0 < window_width <= width and 0 < window_height <= height, "no such window")
    w.bounds, w.sums = &scratch[0], &scratch[w.row_words]
    w.best, w.x, w.y = floor, 0, 0
    w.enough = floor + 1 if any else window_width * window_height
    with nogil:
        if rough:
            w.best = rough_window(&w)
        else:
            fullest_window(&w)
    return w.best, w.x, w.y
