// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/dtype.h"

#include <gtest/gtest.h>
