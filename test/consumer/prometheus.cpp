// SPDX-License-Identifier: MIT
// A program that has the core and its metrics.
#ifdef SINGLE_HEADER
#include SINGLE_HEADER
#else
#include <cacheflight/prometheus.hpp>
#endif

#include <prometheus/text_serializer.h>

#include <string>

int main() {
  cacheflight::prometheus_metrics metrics;
  cacheflight::group flights;
  metrics.attach("users", flights);
  std::string const text = prometheus::TextSerializer().Serialize(metrics.Collect());
  return text.find("\ncacheflight_hit_total{group=\"users\"} 0\n") != std::string::npos ? 0 : 1;
}
