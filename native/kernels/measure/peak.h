// What this machine can do at best, measured: the yardstick of profiles and benchmarks.
#pragma once

namespace gristmill {

// Fused multiply-adds of float32 in registers alone, two operations each, per second on `threads` threads.
double PeakFlops(int threads);
// Bytes that `threads` threads read per second from memory that no cache holds.
double PeakBytes(int threads);

}  // namespace gristmill
