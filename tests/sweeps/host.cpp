// Runs the GPU's kernels on the CPU: what a kernel finds around it, and a loop over its threads.
// Input: kernel number, Shared, then each array as a length and its bytes. Output: the results.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

struct Index {
    unsigned x, y, z;
};
static Index blockIdx, blockDim, threadIdx;
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(threads)
#include "kernels.cu"

static void fill(void *to, size_t bytes) {
    if (fread(to, 1, bytes, stdin) != bytes) {
        fprintf(stderr, "input ends too early\n");
        exit(1);
    }
}

template <typename T> static std::vector<T> array() {
    uint64_t length;
    fill(&length, sizeof length);
    std::vector<T> values(length);
    fill(values.data(), length * sizeof(T));
    return values;
}

int main() {
    int32_t kernel;
    fill(&kernel, sizeof kernel);
    Shared shared;
    fill(&shared, sizeof shared);
    auto market = array<double>();
    auto tradable = array<unsigned char>();
    auto rows = array<double>();
    auto signals = array<unsigned char>();
    auto kinds = array<int>();
    auto factors = array<double>();
    auto terms = array<double>();
    std::vector<double> out(16 * (size_t)shared.sets);
    auto *run = kernel == 0 ? sweep_long : kernel == 1 ? sweep_long_stops : kernel == 2 ? sweep_both : sweep_both_stops;
    blockDim = {128, 1, 1};
    unsigned blocks = (shared.sets + 127) / 128;
    for (unsigned block = 0; block < blocks; block++) {
        for (unsigned thread = 0; thread < 128; thread++) {
            blockIdx = {block, 0, 0};
            threadIdx = {thread, 0, 0};
            run(shared, market.data(), tradable.data(), rows.data(), signals.data(), kinds.data(), factors.data(),
                terms.data(), out.data());
        }
    }
    fwrite(out.data(), sizeof(double), out.size(), stdout);
}
