// doctest, which prints the error of a result that was to be good.
#pragma once

#include <doctest/doctest.h>

#include "base/error.h"

template <class T>
struct doctest::StringMaker<boost::system::result<T, base::Error>> {
  static doctest::String convert(const boost::system::result<T, base::Error>& result) {
    return result ? "a value" : ("error: " + result.error().text).c_str();
  }
};
