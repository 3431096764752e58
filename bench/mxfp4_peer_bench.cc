// SPDX-License-Identifier: Apache-2.0
// FP4 products with few rows against ggml's MXFP4 repacked for its own kernels, round by round in
// turn, so that a noisy machine disturbs both alike. Weights are far larger than caches; a GB
// counts nibbles and scales. ggml's weights are packed beforehand and it rounds activations to
// int8; ours are read as a checkpoint stores them, with activations of e4m3 or bf16.
//   mxfp4_peer_bench PACK [threads 1] [rounds 9] [megabytes of weights 1024]
#include <fmt/format.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "tessera/kernels/kernel_library.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera {
namespace {

struct Sizes {
  int64_t m, n, k, matrices;
};

template <class F>
double seconds(F&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The buffer type in which ggml's processor backend packs weights; null: this build has none.
ggml_backend_buffer_type_t packing_buffers(ggml_backend_t backend) {
  ggml_backend_dev_t device = ggml_backend_get_device(backend);
  const auto find =
      reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
          ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  if (find == nullptr) return nullptr;
  for (auto* types = find(device); types != nullptr && *types != nullptr; ++types)
    if (std::string_view(ggml_backend_buft_name(*types)) == "CPU_REPACK") return *types;
  return nullptr;
}

/// One matrix product after the other, each with weights of its own, as one graph.
class Peer {
 public:
  Peer(const Sizes& s, int threads) : backend_(ggml_backend_cpu_init()) {
    ggml_backend_cpu_set_n_threads(backend_, threads);
    const auto count = static_cast<size_t>(s.matrices);
    const auto make_context = [&](size_t tensors) {
      return ggml_init({.mem_size = tensors * ggml_tensor_overhead() +
                                    ggml_graph_overhead_custom(2 * count + 16, false),
                        .mem_buffer = nullptr,
                        .no_alloc = true});
    };
    weights_ = make_context(count);
    products_ = make_context(2 * count + 16);
    std::vector<ggml_tensor*> matrices(count);
    for (ggml_tensor*& matrix : matrices)
      matrix = ggml_new_tensor_2d(weights_, GGML_TYPE_MXFP4, s.k, s.n);
    ggml_backend_buffer_type_t packing = packing_buffers(backend_);
    packs_ = packing != nullptr;
    weight_memory_ = packs_ ? ggml_backend_alloc_ctx_tensors_from_buft(weights_, packing)
                            : ggml_backend_alloc_ctx_tensors(weights_, backend_);
    std::vector<float> values(static_cast<size_t>(s.n * s.k));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(0.7F * static_cast<float>(i % 100003));
    std::vector<char> coded(ggml_nbytes(matrices[0]));
    ggml_quantize_chunk(GGML_TYPE_MXFP4, values.data(), coded.data(), 0, s.n, s.k, nullptr);
    for (ggml_tensor* matrix : matrices)
      ggml_backend_tensor_set(matrix, coded.data(), 0, coded.size());
    ggml_tensor* x = ggml_new_tensor_2d(products_, GGML_TYPE_F32, s.k, s.m);
    graph_ = ggml_new_graph_custom(products_, 2 * count + 16, false);
    for (ggml_tensor* matrix : matrices)
      ggml_build_forward_expand(graph_, ggml_mul_mat(products_, matrix, x));
    product_memory_ = ggml_backend_alloc_ctx_tensors(products_, backend_);
    ggml_backend_tensor_set(x, values.data(), 0, ggml_nbytes(x));
  }
  ~Peer() {
    ggml_backend_buffer_free(product_memory_);
    ggml_backend_buffer_free(weight_memory_);
    ggml_free(products_);
    ggml_free(weights_);
    ggml_backend_free(backend_);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  bool packs() const { return packs_; }
  void run() { ggml_backend_graph_compute(backend_, graph_); }

 private:
  ggml_backend_t backend_;
  ggml_context *weights_ = nullptr, *products_ = nullptr;
  ggml_backend_buffer_t weight_memory_ = nullptr, product_memory_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
  bool packs_ = false;
};

/// The same of ours: gemm_fp4 on weights one behind the other.
class Ours {
 public:
  static Result<Ours> create(kernels::KernelLibrary& library, const Sizes& s, DType activations) {
    Ours ours;
    TESSERA_ASSIGN(const ops::Operator* op, ops::find_operator("gemm_fp4"));
    ops::Case shape = {.dims = {{"T", s.m}, {"N", s.n}, {"K", s.k}},
                       .dtypes = {{"a", activations}, {"y", DType::bf16}}};
    if (activations == DType::f8e4m3) shape.dtypes["a_scale"] = DType::f8e8m0;
    TESSERA_ASSIGN(const ops::CaseData data,
                   ops::CaseData::make(*op, shape, ops::CaseData::Content::kInputs));
    auto prepared = ops::PreparedOp::prepare(library, *op, data.problem());
    if (!prepared.ok()) return std::move(prepared).error();
    ours.prepared_ = std::make_unique<ops::PreparedOp>(std::move(prepared).value());
    TESSERA_ASSIGN(ours.stream_, library.device().create_stream());
    for (size_t i = 0; i < data.inputs().size(); ++i) {
      const auto& bytes = data.inputs()[i].bytes();
      const bool is_weight = op->signature->tensors[i].name.starts_with("w");
      const auto copies = static_cast<size_t>(is_weight ? s.matrices : 1);
      TESSERA_ASSIGN(auto buffer, library.device().allocate(copies * bytes.size()));
      for (size_t copy = 0; copy < copies; ++copy)
        TESSERA_TRY(ours.stream_->copy_to_device(*buffer, copy * bytes.size(), bytes));
      ours.addresses_.push_back(buffer->address());
      ours.strides_.push_back(is_weight ? bytes.size() : 0);
      ours.buffers_.push_back(std::move(buffer));
      if (is_weight) ours.bytes_ += static_cast<double>(copies * bytes.size());
    }
    ours.matrices_ = s.matrices;
    TESSERA_TRY(ours.stream_->synchronize());
    return ours;
  }

  double bytes() const { return bytes_; }
  void run() {
    std::vector<uint64_t> at = addresses_;
    for (int64_t i = 0; i < matrices_; ++i) {
      for (size_t t = 0; t < at.size(); ++t)
        at[t] = addresses_[t] + static_cast<uint64_t>(i) * strides_[t];
      (void)prepared_->run(*stream_, at, 0);
    }
    (void)stream_->synchronize();
  }

 private:
  std::unique_ptr<ops::PreparedOp> prepared_;
  std::unique_ptr<runtime::Stream> stream_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;
  std::vector<uint64_t> addresses_, strides_;
  double bytes_ = 0;
  int64_t matrices_ = 0;
};

Result<void> compare(kernels::KernelLibrary& library, runtime::BandwidthProbe& memory,
                     const Sizes& s, int threads, int rounds) {
  constexpr std::array kinds = {DType::f8e4m3, DType::bf16};
  std::vector<Ours> ours;
  for (const DType kind : kinds) {
    TESSERA_ASSIGN(Ours one, Ours::create(library, s, kind));
    one.run();
    ours.push_back(std::move(one));
  }
  Peer peer(s, threads);
  peer.run();
  struct Rates {
    std::vector<double> ours, ratios, shares;
  };
  std::array<Rates, kinds.size()> rates;
  std::vector<double> peer_rates;
  for (int round = 0; round < rounds; ++round) {
    TESSERA_ASSIGN(const double read, memory.read_rate());
    const double its = ours[0].bytes() / seconds([&] { peer.run(); });
    peer_rates.push_back(its / 1e9);
    for (size_t i = 0; i < kinds.size(); ++i) {
      const double mine = ours[i].bytes() / seconds([&] { ours[i].run(); });
      rates[i].ours.push_back(mine / 1e9);
      rates[i].ratios.push_back(mine / its);
      rates[i].shares.push_back(mine / read);
    }
  }
  fmt::print("M {} N {} K {}, {} threads: ggml MXFP4{} {:.1f} GB/s", s.m, s.n, s.k, threads,
             peer.packs() ? " repacked" : "", median(peer_rates));
  for (size_t i = 0; i < kinds.size(); ++i)
    fmt::print("; ours of {} {:.1f} ({:.2f}x, {:.0f}% of read)", name(kinds[i]),
               median(rates[i].ours), median(rates[i].ratios), 100 * median(rates[i].shares));
  fmt::print("\n");
  return {};
}

Result<void> run(const char* pack_file, int threads, int rounds, int64_t megabytes) {
  TESSERA_ASSIGN(const auto device, runtime::open_device("cpu", {.threads = threads}));
  TESSERA_ASSIGN(auto pack, kernels::Pack::open(pack_file));
  kernels::KernelLibrary library(*device, {.packs = {std::move(pack)}});
  TESSERA_ASSIGN(const auto memory, device->bandwidth_probe({}));
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{2048, 4096}, {4096, 2048}})
    for (const int64_t m : {1, 2, 4, 8}) {
      const int64_t matrices = std::max<int64_t>(1, (megabytes << 20) / (n * k * 17 / 32));
      TESSERA_TRY(compare(library, *memory, {m, n, k, matrices}, threads, rounds));
    }
  return {};
}

}  // namespace
}  // namespace tessera

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr, "mxfp4_peer_bench PACK [threads] [rounds] [megabytes]\n");
    return 2;
  }
  ggml_log_set([](ggml_log_level, const char*, void*) {},
               nullptr);  // a line for each packed tensor
  const int threads = count > 2 ? std::atoi(arguments[2]) : 1;
  const int rounds = count > 3 ? std::atoi(arguments[3]) : 9;
  const int64_t megabytes = count > 4 ? std::atoll(arguments[4]) : 1024;
  const auto result = tessera::run(arguments[1], threads, rounds, megabytes);
  if (result.ok()) return 0;
  fmt::print(stderr, "{}\n", result.error().to_string());
  return 1;
}
