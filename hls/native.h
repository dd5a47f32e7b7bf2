// Native-integer stand-ins for fast C simulation (COEXPLORE_NATIVE); never seen by an HLS tool.
#ifndef COEXPLORE_NATIVE_H
#define COEXPLORE_NATIVE_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace coexplore {
template <bool A, class T, class F> struct choose { typedef T type; };
template <class T, class F> struct choose<false, T, F> { typedef F type; };

template <int W> struct native_int {
    static_assert(W >= 1 && W <= 64, "native integers have 1 to 64 bits");
    typedef typename choose<(W <= 8), int8_t,
        typename choose<(W <= 16), int16_t, typename choose<(W <= 32), int32_t, int64_t>::type>::type>::type s;
    typedef typename choose<(W <= 8), uint8_t,
        typename choose<(W <= 16), uint16_t, typename choose<(W <= 32), uint32_t, uint64_t>::type>::type>::type u;
};
template <int W> using Int = typename native_int<W>::s;
template <int W> using UInt = typename native_int<W>::u;

template <int W> struct Axis {
    uint8_t data[W / 8];
    bool last;
};
template <class R, class A, class B> inline R multiply(A a, B b) { return (R)((R)a * (R)b); }
template <class T, int SLOT, class Word> inline T axis_get(const Word &word, int lane) {
    T value = 0;
    const unsigned n = sizeof(T) < SLOT / 8 ? sizeof(T) : SLOT / 8;
    std::memcpy(&value, word.data + lane * (SLOT / 8), n);
    return value;
}
template <int SLOT, class Word, class T> inline void axis_set(Word &word, int lane, T value) {
    const int64_t wide = (int64_t)value;
    std::memcpy(word.data + lane * (SLOT / 8), &wide, SLOT / 8);
}
template <int W> inline void axis_clear(Axis<W> &word) {
    std::memset(word.data, 0, sizeof word.data);
    word.last = false;
}
} // namespace coexplore

namespace hls {
// A queue without bound, as in C simulation of the vendors' stream; reading an empty one is a fault of the design.
template <class T> class stream {
  public:
    stream(const char *name = "stream") : name_(name), head_(0) {}
    bool empty() const { return head_ == data_.size(); }
    unsigned size() const { return (unsigned)(data_.size() - head_); }
    void write(const T &value) { data_.push_back(value); }
    T read() {
        if (empty()) {
            std::fprintf(stderr, "read from empty stream %s\n", name_);
            std::abort();
        }
        T value = data_[head_++];
        if (head_ == data_.size()) {
            data_.clear();
            head_ = 0;
        }
        return value;
    }

  private:
    const char *name_;
    std::vector<T> data_;
    size_t head_;
};
} // namespace hls

#endif
