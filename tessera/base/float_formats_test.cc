// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/float_formats.h"

#include <gtest/gtest.h>
