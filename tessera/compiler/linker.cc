// SPDX-License-Identifier: Apache-2.0
// Objects to shared objects by lld inside the process. lld reads and writes files, keeps global
// state and resets LLVM's command-line options, so one link runs at a time; it takes a few
// milliseconds.
#include <fmt/format.h>

#include <cstring>
#include <mutex>

#include "lld/Common/Driver.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "tessera/compiler/machine.h"

LLD_HAS_DRIVER(elf)

namespace tessera::compiler {
namespace {

/// What dlopen resolves from the process itself.
bool isAllowed(llvm::StringRef symbol) {
  return symbol.empty() || symbol == "memcpy" || symbol == "memmove" || symbol == "memset" ||
         symbol == "_GLOBAL_OFFSET_TABLE_";
}

Result<void> checkUndefined(const std::vector<char>& object) {
  auto file = llvm::object::ObjectFile::createObjectFile(
      llvm::MemoryBufferRef(llvm::StringRef(object.data(), object.size()), "kernel"));
  if (!file) return internal_error("LLVM wrote no object: " + llvm::toString(file.takeError()));
  for (const llvm::object::SymbolRef& symbol : (*file)->symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    if (!flags || !name) {
      llvm::consumeError(flags.takeError());
      llvm::consumeError(name.takeError());
      return internal_error("the kernel's object has a broken symbol table");
    }
    if ((*flags & llvm::object::SymbolRef::SF_Undefined) && !isAllowed(*name))
      return internal_error(
          fmt::format("the kernel calls '{}', which does not exist at run time", name->str()));
  }
  return {};
}

Result<std::string> writeTemporary(const std::vector<char>& bytes) {
  llvm::SmallString<128> path;
  int descriptor = -1;
  if (const std::error_code error =
          llvm::sys::fs::createTemporaryFile("tessera", "o", descriptor, path))
    return io_error(fmt::format("no temporary file for the linker: {}", error.message()));
  llvm::raw_fd_ostream out(descriptor, /*shouldClose=*/true);
  out.write(bytes.data(), bytes.size());
  out.close();
  if (out.has_error()) {
    const std::string text = out.error().message();
    out.clear_error();
    llvm::sys::fs::remove(path);
    return io_error(fmt::format("{}: {}", path.str().str(), text));
  }
  return path.str().str();
}

Result<void> runLinker(const std::string& input, const std::string& output) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const char* arguments[] = {
      "ld.lld",          "-shared",     "--strip-all", "--build-id=none", "--hash-style=gnu", "-z",
      "noseparate-code", "--threads=1", "-o",          output.c_str(),    input.c_str()};
  std::string text;
  llvm::raw_string_ostream messages(text);
  const lld::Result result =
      lld::lldMain(arguments, messages, messages, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0) return internal_error("linking the kernel: " + text);
  return {};
}

}  // namespace

Result<std::vector<std::byte>> linkSharedObject(const std::vector<char>& object,
                                                StageTimer& timer) {
  TESSERA_TRY(checkUndefined(object));
  TESSERA_ASSIGN(const std::string input, writeTemporary(object));
  const std::string output = input + ".so";
  const auto cleanup = llvm::make_scope_exit([&] {
    llvm::sys::fs::remove(input);
    llvm::sys::fs::remove(output);
  });
  TESSERA_TRY(runLinker(input, output));
  auto linked =
      llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!linked) return io_error(fmt::format("{}: {}", output, linked.getError().message()));
  std::vector<std::byte> bytes((*linked)->getBufferSize());
  std::memcpy(bytes.data(), (*linked)->getBufferStart(), bytes.size());
  timer.finish("link");
  return bytes;
}

}  // namespace tessera::compiler
