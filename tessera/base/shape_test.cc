// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/shape.h"

#include <gtest/gtest.h>
