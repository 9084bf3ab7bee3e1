// SPDX-License-Identifier: MIT

// QCoro, with Qt 6: `QCoro::Task` starts at once, and is resumed on Qt's event loop.

#include "scenarios.hpp"

#include <QCoreApplication>
#include <QCoroTask>
#include <QCoroTimer>
#include <QTimer>
#include <functional>
#include <utility>

namespace {

struct qcoro {
  template <class T>
  using task = QCoro::Task<T>;

  static task<void> sleep(std::chrono::milliseconds takes) {
    QTimer timer;
    timer.setSingleShot(true);
    timer.start(takes);
    co_await timer;
  }
  static void spawn(task<void> started) { (void)started; }
  static void run(task<void> started) {
    if (!done) QCoreApplication::exec();
    (void)started;
  }
  static void post(std::function<void()> f) {
    QMetaObject::invokeMethod(QCoreApplication::instance(), std::move(f), Qt::QueuedConnection);
  }
  static void stop() {
    done = true;
    QCoreApplication::quit();
  }
  static inline bool done = false;
};

}  // namespace

int main(int argc, char** argv) {
  QCoreApplication const application(argc, argv);
  return libraries::scenarios<qcoro>().run();
}
