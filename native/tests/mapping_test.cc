// Files that are used where they lie, and what happens when somebody cuts them.
#include "core/mapping.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "core/buffer.h"
#include "doctest/doctest.h"
#include "kernels/gemm/gemm.h"

namespace gristmill::test {
namespace {

// A file without a name that holds some bytes.
struct File {
  File(const void* data, size_t bytes) : stream(std::tmpfile()) {
    REQUIRE(stream != nullptr);
    descriptor = fileno(stream);
    REQUIRE(write(descriptor, data, bytes) == static_cast<ssize_t>(bytes));
  }
  ~File() { std::fclose(stream); }
  std::FILE* stream;
  int descriptor = -1;
};

std::vector<uint16_t> Numbers(size_t count) {
  std::vector<uint16_t> numbers(count);
  for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<uint16_t>(0x3c00 + i * 7919 % 1024);  // from 1 to 2
  return numbers;
}

}  // namespace

TEST_CASE("a file is mapped once, as long as somebody has it, and not where it is shorter") {
  const std::string text = "some weights";
  const File file(text.data(), text.size());
  const auto one = Mapping::Of(file.descriptor, 12), other = Mapping::Of(file.descriptor, 4);
  REQUIRE(one != nullptr);
  CHECK(one == other);
  CHECK(std::string(one->data(), 12) == text);
  CHECK(one->data()[12] == 0);  // kernels may read past the end
  CHECK(Mapping::Of(file.descriptor, 13) == nullptr);
  CHECK(Mapping::Of(-1, 0) == nullptr);
  const File empty("", 0);
  CHECK(Mapping::Of(empty.descriptor, 0) != nullptr);
}

TEST_CASE("pages that a file has lost read as zeros, for all threads, and are known") {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const std::vector<char> ones(16 * page, 1);
  const File file(ones.data(), ones.size()), whole(ones.data(), ones.size());
  const auto mapping = Mapping::Of(file.descriptor, static_cast<int64_t>(ones.size()));
  const auto kept = Mapping::Of(whole.descriptor, static_cast<int64_t>(ones.size()));
  auto sum = [](const Mapping& of, size_t bytes) { return std::accumulate(of.data(), of.data() + bytes, 0); };
  CHECK(sum(*mapping, ones.size()) == static_cast<int>(ones.size()));
  REQUIRE(ftruncate(file.descriptor, static_cast<off_t>(4 * page)) == 0);
  const int64_t before = LostPages();
#if defined(__SANITIZE_THREAD__)  // which takes the new page for something written while others read
  constexpr size_t kReaders = 1;
#else
  constexpr size_t kReaders = 4;
#endif
  std::vector<std::thread> threads;
  std::vector<int> sums(kReaders);
  for (int& each : sums) threads.emplace_back([&, at = &each] { *at = sum(*mapping, 16 * page); });
  for (std::thread& thread : threads) thread.join();
  CHECK(sums == std::vector<int>(kReaders, static_cast<int>(4 * page)));
  CHECK(mapping->lost());
  CHECK(LostPages() > before);
  CHECK_FALSE(kept->lost());
  const FileRange lost(file.descriptor, 0, static_cast<int64_t>(16 * page), true);
  CHECK(lost.mapping() == nullptr);  // it is shorter now
  const auto buffer = FileBuffer(FileRange(whole.descriptor, 0, 100, true), 100, "whole");
  CHECK_NOTHROW(buffer->Finish());
}

TEST_CASE("a matrix in its file gives the products of a packed one, of few rows and of many") {
  const int64_t k = 300, n = 1003;
  const std::vector<uint16_t> weight = Numbers(static_cast<size_t>(k * n));
  const File file(weight.data(), weight.size() * 2);
  const FileRange range(file.descriptor, 0, k * n * 2, true);
  const MatrixSource source = MatrixSource::Of(DType::kF16, weight.data(), k, n, 1, k);
  const auto packed = PackMatrix(source), mapped = PackMatrix(source, range, "weight", true);
  REQUIRE(mapped->decoder != nullptr);
  CHECK(mapped->bytes() == weight.size() * 2);
  CHECK(PackMatrix(source, range, "weight", false)->decoder == nullptr);
  mapped->Finish();
  const int64_t width = packed->width, ldc = packed->panels() * width;
  for (const int64_t rows : {int64_t{2}, int64_t{50}}) {
    std::vector<float> a(static_cast<size_t>(rows * k)), tiles(static_cast<size_t>(TilesFloats(rows, kDepth)));
    std::iota(a.begin(), a.end(), 1.0f);
    std::vector<float> panel(static_cast<size_t>(kDepth * width));
    auto product = [&](const Panels& b) {
      std::vector<float> c(static_cast<size_t>(rows * ldc));
      for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
        MultiplyBlock(a.data() + k0, k, rows, std::min(kDepth, k - k0), b, k0, 0, b.panels(), c.data(), ldc, k0 > 0,
                      panel.data(), tiles.data());
      }
      return c;
    };
    const std::vector<float> wanted = product(*packed);
    CHECK(product(*mapped) == wanted);
    if (rows == 2) CHECK(mapped->decoder->Stored() == nullptr);
    mapped->decoder->Store();
    CHECK(mapped->Now().decoder == nullptr);
    CHECK(product(mapped->Now()) == wanted);
  }
}

TEST_CASE("a matrix whose columns are in their file in another order is brought into that of products") {
  const int64_t taps = 9, channels = 67, n = 301, k = taps * channels;
  const std::vector<uint16_t> weight = Numbers(static_cast<size_t>(k * n));
  const File file(weight.data(), weight.size() * 2);
  const MatrixSource source{DType::kF16, weight.data(), taps, channels, n, 1, taps, k};
  const auto packed = PackMatrix(source), mapped = PackMatrix(source, FileRange(file.descriptor, 0, k * n * 2, true), "filters", true);
  REQUIRE(mapped->decoder != nullptr);
  REQUIRE(mapped->room() == packed->size());
  CHECK(mapped->Shape().decoder == nullptr);
  std::vector<char> room(mapped->room());
  const Panels here = mapped->InOrder(room.data(), Workspace{2});
  CHECK(here.at == room.data());
  CHECK(std::equal(room.begin(), room.end(), packed->at));
  // Who does not ask for the order gets blocks in it too, across the border between two taps.
  std::vector<float> block(static_cast<size_t>(64 * packed->width));
  mapped->decoder->Decode(1, 64, 64, reinterpret_cast<char*>(block.data()));
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(packed->panel(1)) + 64 * packed->width;
  for (size_t i = 0; i < block.size(); ++i) {  // numbers from 1 to 2, whose bits are those of their fractions
    CHECK(block[i] == 1.0f + static_cast<float>(halves[i] - 0x3c00) / 1024);
  }
  mapped->decoder->Store();
  CHECK(mapped->room() == 0);
  CHECK(std::equal(room.begin(), room.end(), mapped->InOrder(nullptr, Workspace{2}).at));
}

TEST_CASE("a matrix whose file was cut is an error for who waits for it") {
  const std::vector<uint16_t> weight = Numbers(512 * 512);
  const File file(weight.data(), weight.size() * 2);
  const MatrixSource source = MatrixSource::Of(DType::kF16, nullptr, 512, 512, 1, 512);
  const auto matrix = PackMatrix(source, FileRange(file.descriptor, 0, 512 * 512 * 2, true), "cut", true);
  matrix->Finish();
  REQUIRE(ftruncate(file.descriptor, 0) == 0);
  std::vector<float> block(static_cast<size_t>(256 * matrix->width));
  matrix->decoder->Decode(0, 0, 256, reinterpret_cast<char*>(block.data()));
  CHECK_THROWS_WITH_AS(matrix->Finish(), "the weights of 'cut' cannot be read: the file shrank while it was read", FileError);
}

}  // namespace gristmill::test
