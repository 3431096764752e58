// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/line_reader.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <iostream>

namespace tessera::cli {

struct LineReader::Terminal {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;

  static char* prompt_of(EditLine* editor) {
    Terminal* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return self->prompt.data();
  }
};

LineReader::LineReader() {
  if (::isatty(STDIN_FILENO) == 0) return;
  std::setlocale(LC_CTYPE, "C.UTF-8");  // the editor moves by characters
  terminal_ = std::make_unique<Terminal>();
  Terminal& t = *terminal_;
  t.editor = ::el_init("tessera", stdin, stdout, stderr);
  t.history = ::history_init();
  HistEvent event;
  ::history(t.history, &event, H_SETSIZE, 1000);
  ::el_set(t.editor, EL_CLIENTDATA, &t);
  ::el_set(t.editor, EL_PROMPT, &Terminal::prompt_of);
  ::el_set(t.editor, EL_EDITOR, "emacs");
  ::el_set(t.editor, EL_SIGNAL, 1);
  ::el_set(t.editor, EL_HIST, ::history, t.history);
  ::el_source(t.editor, nullptr);
}

LineReader::~LineReader() {
  if (terminal_ == nullptr) return;
  ::history_end(terminal_->history);
  ::el_end(terminal_->editor);
}

std::optional<std::string> LineReader::read(const std::string& prompt) {
  if (terminal_ == nullptr) {
    std::string line;
    return std::getline(std::cin, line) ? std::optional(line) : std::nullopt;
  }
  terminal_->prompt = prompt;
  int count = 0;
  errno = 0;
  const char* text = ::el_gets(terminal_->editor, &count);
  if (text == nullptr && errno == EINTR) {
    std::fputs("\n", stdout);
    return std::string();
  }
  if (text == nullptr || count <= 0) return std::nullopt;
  std::string line(text, static_cast<size_t>(count));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  HistEvent event;
  if (!line.empty()) ::history(terminal_->history, &event, H_ENTER, line.c_str());
  return line;
}

}  // namespace tessera::cli
