// SPDX-License-Identifier: MIT
#include "users.hpp"

#include <sqlite3.h>
#include <unistd.h>

#include <array>
#include <random>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>

namespace demo {

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

constexpr unsigned user_count = 20'000;
constexpr int order_count = 100'000;
constexpr std::int64_t schema_version = 0x63660001;  // tells our files from others

struct closer {
  void operator()(sqlite3* handle) const noexcept { sqlite3_close(handle); }
  void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
};
struct resetter {
  void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_reset(statement); }
};
using handle_ptr = std::unique_ptr<sqlite3, closer>;
using statement_ptr = std::unique_ptr<sqlite3_stmt, closer>;

[[noreturn]] void fail(sqlite3* handle) {
  std::string const what =
      std::string("database ") + sqlite3_db_filename(handle, "main") + ": " + sqlite3_errmsg(handle);
  if (sqlite3_errcode(handle) == SQLITE_BUSY) throw database_busy(what);
  throw std::runtime_error(what);
}

std::runtime_error unwanted() { return std::runtime_error("database: the query was not wanted any more"); }

handle_ptr open(std::filesystem::path const& file, int flags) {
  sqlite3* raw = nullptr;
  int const result = sqlite3_open_v2(file.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  handle_ptr handle(raw);
  if (result != SQLITE_OK) throw std::runtime_error("database " + file.string() + ": " + sqlite3_errmsg(raw));
  return handle;
}

void execute(sqlite3* handle, std::string const& sql) {
  if (sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail(handle);
}

statement_ptr prepare(sqlite3* handle, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  int const size = static_cast<int>(sql.size());
  if (sqlite3_prepare_v3(handle, sql.data(), size, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
    fail(handle);
  return statement_ptr(raw);
}

void bind(sqlite3_stmt* statement, int index, std::int64_t value) {
  sqlite3_bind_int64(statement, index, value);
}
void bind(sqlite3_stmt* statement, int index, std::string const& value) {
  sqlite3_bind_text(statement, index, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
}

template <class... Values>
void insert(sqlite3_stmt* statement, Values const&... values) {
  int index = 0;
  (bind(statement, ++index, values), ...);
  if (sqlite3_step(statement) != SQLITE_DONE) fail(sqlite3_db_handle(statement));
  sqlite3_reset(statement);
}

std::string text(sqlite3_stmt* statement, int column) {
  auto const* const bytes = sqlite3_column_text(statement, column);
  return bytes ? std::string(reinterpret_cast<char const*>(bytes)) : std::string();
}

void create_tables(sqlite3* handle) {
  constexpr std::array first_names{"Ada",     "Barbara", "Claude", "Donald", "Edsger",
                                   "Frances", "Grace",   "Hedy",   "Ivan",   "Katherine"};
  constexpr std::array last_names{"Allen", "Dijkstra", "Goldberg", "Hopper", "Johnson",
                                  "Knuth", "Lamarr",   "Lovelace", "Shannon"};
  constexpr std::array products{"adapter", "battery", "cable",  "display", "keyboard",
                                "lamp",    "mouse",   "router", "speaker"};
  constexpr unsigned cities = 50;
  std::mt19937 random(42);  // the same data everywhere
  auto const up_to = [&](unsigned most) { return static_cast<std::int64_t>(1 + random() % most); };
  auto const one_of = [&](auto const& names) { return std::string(names[random() % names.size()]); };

  execute(handle, R"sql(
    PRAGMA synchronous = OFF;
    BEGIN;
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, city TEXT NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id), product TEXT NOT NULL,
                         quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL);
  )sql");
  auto const add_user = prepare(handle, "INSERT INTO users (name, email, city) VALUES (?, ?, ?)");
  for (unsigned id = 1; id <= user_count; ++id) {
    auto const first = one_of(first_names);
    auto const last = one_of(last_names);
    insert(add_user.get(), first + " " + last, first + "." + last + std::to_string(id) + "@example.com",
           "City " + std::to_string(up_to(cities)));
  }
  auto const add_order =
      prepare(handle, "INSERT INTO orders (user_id, product, quantity, price_cents) VALUES (?, ?, ?, ?)");
  for (int order = 0; order < order_count; ++order) {
    auto const buyer = up_to(user_count);
    auto const product = one_of(products);
    auto const quantity = up_to(5);
    auto const price = up_to(20'000);
    insert(add_order.get(), buyer, product, quantity, price);
  }
  execute(handle,
          "CREATE INDEX users_by_city ON users (city); CREATE INDEX orders_by_user ON orders (user_id);"
          "PRAGMA user_version = " +
              std::to_string(schema_version) + "; COMMIT; ANALYZE;");
}

// The data is built beside its place and moved there when complete, so that an interrupted start leaves no
// half of a database behind.
void create_if_missing(std::filesystem::path const& file) {
  if (std::filesystem::exists(file)) return;
  auto draft = file;
  draft += ".draft-";
  draft += std::to_string(getpid());
  try {
    create_tables(open(draft, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE).get());
    std::filesystem::rename(draft, file);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(draft, ignored);
    throw;
  }
}

constexpr std::string_view find_user_sql = R"sql(
  WITH me AS (SELECT * FROM users WHERE id = ?1),
       spending AS (SELECT u.id AS user_id, count(o.id) AS orders, coalesce(sum(o.quantity * o.price_cents), 0) AS cents
                    FROM users u LEFT JOIN orders o ON o.user_id = u.id
                    WHERE u.city = (SELECT city FROM me) GROUP BY u.id)
  SELECT me.id, me.name, me.email, me.city, mine.orders, mine.cents,
         (SELECT 1 + count(*) FROM spending WHERE cents > mine.cents),
         (SELECT product FROM orders WHERE user_id = me.id
          GROUP BY product ORDER BY sum(quantity) DESC, product LIMIT 1)
  FROM me JOIN spending mine ON mine.user_id = me.id
)sql";

}  // namespace

// One connection with its prepared statement; used by one thread at a time.
class user_store::connection {
 public:
  connection(std::filesystem::path const& file, std::chrono::milliseconds busy_timeout)
      : handle_(open(file, SQLITE_OPEN_READONLY)), busy_timeout_(busy_timeout) {
    sqlite3_progress_handler(handle_.get(), 1000, &connection::stop_query, this);
    sqlite3_busy_handler(handle_.get(), &connection::wait_for_lock, this);
    begin({});
    auto const version = prepare(handle_.get(), "PRAGMA user_version");
    if (sqlite3_step(version.get()) != SQLITE_ROW) fail(handle_.get());
    if (sqlite3_column_int64(version.get(), 0) != schema_version) {
      throw std::runtime_error("database " + file.string() +
                               " was not made by this program; choose another --database");
    }
    find_user_ = prepare(handle_.get(), find_user_sql);
  }

  std::optional<user> find_user(std::stop_token const& stop, std::int64_t id) {
    if (stop.stop_requested()) throw unwanted();
    begin(stop);
    std::unique_ptr<sqlite3_stmt, resetter> const statement(find_user_.get());
    sqlite3_stmt* const row = statement.get();
    bind(row, 1, id);
    int const result = sqlite3_step(row);
    if (result == SQLITE_DONE) return std::nullopt;
    if (result != SQLITE_ROW) fail(handle_.get());
    return user{sqlite3_column_int64(row, 0),
                text(row, 1),
                text(row, 2),
                text(row, 3),
                sqlite3_column_int64(row, 4),
                sqlite3_column_int64(row, 5),
                sqlite3_column_int64(row, 6),
                text(row, 7)};
  }

 private:
  void begin(std::stop_token const& stop) {
    stop_ = stop;
    patience_ends_ = clock_type::now() + busy_timeout_;
  }

  // Called after each thousand steps of a query: not 0 interrupts it. In place of sqlite3_interrupt, which is
  // lost if it comes just before the query's first step.
  static int stop_query(void* self) noexcept {
    return static_cast<connection*>(self)->stop_.stop_requested();
  }

  // Called again and again while the database is locked: 0 gives up. In place of sqlite3_busy_timeout, which
  // nothing ends early.
  static int wait_for_lock(void* self, int) noexcept {
    auto const& mine = *static_cast<connection*>(self);
    if (mine.stop_.stop_requested() || clock_type::now() >= mine.patience_ends_) return 0;
    std::this_thread::sleep_for(5ms);
    return 1;
  }

  handle_ptr handle_;
  statement_ptr find_user_;
  std::chrono::milliseconds busy_timeout_;
  std::stop_token stop_;  // of the query that runs
  clock_type::time_point patience_ends_;
};

// A connection borrowed for one query.
class user_store::lease {
 public:
  lease(user_store& home, std::stop_token const& stop) : home_(home) {
    std::unique_lock lock(home_.mutex_);
    if (!home_.returned_.wait(lock, stop, [this] { return !home_.idle_.empty(); })) throw unwanted();
    borrowed_ = std::move(home_.idle_.back());
    home_.idle_.pop_back();
  }
  ~lease() {
    {
      std::lock_guard const lock(home_.mutex_);
      home_.idle_.push_back(std::move(borrowed_));
    }
    home_.returned_.notify_one();
  }
  lease(lease const&) = delete;
  lease& operator=(lease const&) = delete;

  connection* operator->() const noexcept { return borrowed_.get(); }

 private:
  user_store& home_;
  std::unique_ptr<connection> borrowed_;
};

user_store::user_store(std::filesystem::path const& file, std::size_t connections,
                       std::chrono::milliseconds busy_timeout) {
  create_if_missing(file);
  for (std::size_t i = 0; i < connections; ++i)
    idle_.push_back(std::make_unique<connection>(file, busy_timeout));
}

user_store::~user_store() = default;

std::optional<user> user_store::find(std::stop_token const& stop, std::int64_t id) {
  lease const borrowed(*this, stop);
  return borrowed->find_user(stop, id);
}

}  // namespace demo
