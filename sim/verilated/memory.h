// AXI4 memory with the timing of a DRAM controller's port, and the checks a well-behaved manager must pass.
//
// Strict on purpose: a read returns what memory held when its address was accepted, and written data reaches memory
// only when its response is delivered, so a manager that does not wait for write responses reads stale data.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "pins.h"

constexpr unsigned kMaxBeats = 256;
constexpr unsigned kPageShift = 11;  // 2 KiB DRAM pages, consecutive pages in consecutive banks
constexpr unsigned kBanks = 8;
constexpr uint8_t kOkay = 0, kSlaveError = 2, kDecodeError = 3;

// hw/boards/memory.py says what the timings mean and sets them all; zeros are no memory.
struct Settings {
  int64_t latency = 0, write_latency = 0, row_miss = 0, turnaround = 0, refresh = 0, refresh_period = 0, rate = 0;
  int64_t outstanding = 0;
  int64_t random = 0;         // nonzero: seed of random latencies and stalls on every channel
  int64_t interleave = 0;     // with random: beats of read bursts with different ids are interleaved
  int64_t error_base = 0;     // accesses that touch [error_base, error_base + error_size) answer SLVERR
  int64_t error_size = 0;
};

struct Statistics {
  uint64_t read_bursts = 0, read_beats = 0, write_bursts = 0, write_beats = 0;
  uint64_t read_stalls = 0;   // cycles a read beat waited for rready
  uint64_t write_stalls = 0;  // cycles a write beat waited for wready
};

class Random {
 public:
  void seed(uint64_t value) { state_ = value * 0x9E3779B97F4A7C15ull + 1; }
  uint64_t below(uint64_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return (state_ >> 11) % limit;
  }

 private:
  uint64_t state_ = 1;
};

// What the manager shows before a clock edge.
struct Seen {
  bool ar, r_ready, aw, w, b_ready;
};

#if HAS_MEMORY
struct Burst {
  uint64_t address = 0, due = 0;  // due: cycle of the first beat (reads) or of the response (writes)
  uint32_t beats = 0, done = 0;
  uint8_t id = 0, response = kOkay;
  std::vector<uint8_t> data, strobe;
};

struct Address {
  uint64_t address;
  uint32_t beats, size, burst, id;
  bool operator==(const Address& o) const {
    return address == o.address && beats == o.beats && size == o.size && burst == o.burst && id == o.id;
  }
};

class Memory {
 public:
  explicit Memory(uint64_t size) : size_(size) {
    void* raw = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    bytes = raw == MAP_FAILED ? nullptr : static_cast<uint8_t*>(raw);
  }
  ~Memory() {
    if (bytes) munmap(bytes, size_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uint8_t* bytes;
  Settings settings;
  Statistics statistics;
  std::string error;
  Random random;

  // Forgets everything in flight; memory contents stay.
  void reset(Vtop* top) {
    reads_.clear();
    writes_.clear();
    current_ = -1;
    writing_ = 0;
    held_ar_ = held_aw_ = held_w_ = b_valid_ = false;
    top->m_axi_arready = top->m_axi_awready = top->m_axi_wready = 0;
    top->m_axi_rvalid = top->m_axi_bvalid = 0;
    random.seed(settings.random);
  }

  bool idle() const { return reads_.empty() && writes_.empty(); }

  // Before the edge: what is on the pins, checked against what was there while waiting.
  Seen sample(Vtop* top, uint64_t now) {
    Seen seen{bool(top->m_axi_arvalid), bool(top->m_axi_rready), bool(top->m_axi_awvalid), bool(top->m_axi_wvalid),
              bool(top->m_axi_bready)};
    if (seen.ar | held_ar_) check_address("AR", seen.ar, top->m_axi_arready, held_ar_, ar_, read_address(top), now);
    if (seen.aw | held_aw_) check_address("AW", seen.aw, top->m_axi_awready, held_aw_, aw_, write_address(top), now);
    if (seen.w | held_w_) check_data(top, seen.w, now);
    return seen;
  }

  // After the edge: takes what was exchanged in cycle `now`, drives the pins of the next.
  void step(Vtop* top, const Seen& seen, uint64_t now) {
    if (seen.ar && top->m_axi_arready) accept_read(now);
    if (current_ >= 0) {
      if (seen.r_ready) finish_beat(top);
      else statistics.read_stalls++;
    }
    if (seen.aw && top->m_axi_awready) accept_write();
    if (seen.w) {
      if (top->m_axi_wready) accept_data(now);
      else statistics.write_stalls++;
    }
    if (b_valid_ && seen.b_ready) {
      writes_.pop_front();
      writing_--;
      b_valid_ = false;
      top->m_axi_bvalid = 0;
    }
    if (current_ < 0 && !reads_.empty()) start_beat(top, now + 1);
    if (!b_valid_ && !writes_.empty()) start_response(top, now + 1);
    const bool randomly = settings.random != 0;
    const auto room = static_cast<size_t>(settings.outstanding);
    top->m_axi_arready = reads_.size() < room && !(randomly && random.below(4) == 0);
    top->m_axi_awready = writes_.size() < room && !(randomly && random.below(4) == 0);
    top->m_axi_wready = writing_ < writes_.size() && !(randomly && random.below(4) == 0);
  }

 private:
  static Address read_address(Vtop* top) {
    return {top->m_axi_araddr, top->m_axi_arlen + 1u, PIN_ARSIZE(top), PIN_ARBURST(top), PIN_ARID(top)};
  }
  static Address write_address(Vtop* top) {
    return {top->m_axi_awaddr, top->m_axi_awlen + 1u, PIN_AWSIZE(top), PIN_AWBURST(top), PIN_AWID(top)};
  }

  void fail(uint64_t now, const std::string& what) {
    if (error.empty()) error = "cycle " + std::to_string(now) + ": " + what;
  }

  void check_address(const char* channel, bool valid, bool ready, bool& held, Address& last, const Address& a,
                     uint64_t now) {
    const std::string name(channel);
    if (held && !valid) fail(now, name + "VALID fell before " + name + "READY");
    if (held && valid && !(a == last)) fail(now, "the " + name + " payload changed while waiting");
    if (!held && valid) {
      if (a.address % DATA_BYTES) fail(now, name + " address " + hex(a.address) + " is not aligned to a beat");
      if ((a.address ^ (a.address + uint64_t{a.beats} * DATA_BYTES - 1)) >> 12)
        fail(now, name + " burst of " + std::to_string(a.beats) + " beats at " + hex(a.address) + " crosses 4 KiB");
      if ((1u << a.size) != DATA_BYTES) fail(now, name + "SIZE is not a whole beat");
      if (a.burst != 1) fail(now, name + "BURST is not INCR");
    }
    last = a;
    held = valid && !ready;
  }

  void check_data(Vtop* top, bool valid, uint64_t now) {
    uint8_t data[DATA_BYTES] = {0};
    const uint64_t strobe = top->m_axi_wstrb;
    const bool last = top->m_axi_wlast;
    std::memcpy(data, &top->m_axi_wdata, DATA_BYTES);
    if (held_w_ && !valid) fail(now, "WVALID fell before WREADY");
    if (held_w_ && valid && (std::memcmp(data, w_data_, DATA_BYTES) || strobe != w_strobe_ || last != w_last_))
      fail(now, "the W payload changed while waiting");
    std::memcpy(w_data_, data, DATA_BYTES);
    w_strobe_ = strobe;
    w_last_ = last;
    held_w_ = valid && !top->m_axi_wready;
  }

  static std::string hex(uint64_t value) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
    return text;
  }

  uint8_t response_of(uint64_t address, uint64_t length) const {
    if (address + length > size_) return kDecodeError;
    const auto low = static_cast<uint64_t>(settings.error_base);
    const auto high = low + static_cast<uint64_t>(settings.error_size);
    return low < high && address < high && address + length > low ? kSlaveError : kOkay;
  }

  // Books the bus for a burst that is ready in cycle `now`; returns the cycle of its first slot.
  uint64_t book(uint64_t address, uint32_t beats, bool write, uint64_t now) {
    uint64_t at = std::max(now, bus_free_);
    if (!next_refresh_) next_refresh_ = settings.refresh_period;
    if (settings.refresh && at >= next_refresh_) {
      next_refresh_ += (at - next_refresh_) / settings.refresh_period * settings.refresh_period;
      at = std::max(at, std::max(next_refresh_, bus_free_) + settings.refresh);  // a burst under way is finished first
      next_refresh_ += settings.refresh_period;
    }
    if (write != writing_bus_) at += settings.turnaround;
    writing_bus_ = write;
    const uint64_t page = address >> kPageShift;
    uint64_t& open = open_[page % kBanks];
    if (open != page) at += settings.row_miss;
    open = page;
    bus_free_ = at + beats * 100ull / settings.rate;
    return at;
  }

  void accept_read(uint64_t now) {
    Burst burst;
    burst.address = ar_.address;
    burst.beats = ar_.beats;
    burst.id = static_cast<uint8_t>(ar_.id);
    burst.data.resize(uint64_t{ar_.beats} * DATA_BYTES);
    if (ar_.address + burst.data.size() <= size_) std::memcpy(burst.data.data(), bytes + ar_.address, burst.data.size());
    burst.due = book(ar_.address, ar_.beats, false, now) + settings.latency;
    if (settings.random) burst.due += random.below(64);
    statistics.read_bursts++;
    reads_.push_back(std::move(burst));
  }

  // The burst whose beat comes next: the oldest, or with `random` the oldest of a random id.
  int choose() {
    if (!settings.random) return 0;
    if (!settings.interleave && !reads_.front().done) {
      for (size_t i = 0; i < reads_.size(); i++)
        if (reads_[i].done) return static_cast<int>(i);
    } else if (!settings.interleave) {
      return 0;
    }
    const size_t pick = random.below(reads_.size());
    for (size_t i = 0; i <= pick; i++)
      if (reads_[i].id == reads_[pick].id) return static_cast<int>(i);
    return 0;
  }

  void start_beat(Vtop* top, uint64_t now) {
    const int index = choose();
    const Burst& burst = reads_[index];
    if (now < burst.due + burst.done * 100ull / settings.rate) return;
    if (settings.random && random.below(4) == 0) return;
    current_ = index;
    std::memcpy(&top->m_axi_rdata, burst.data.data() + uint64_t{burst.done} * DATA_BYTES, DATA_BYTES);
    const uint8_t response = response_of(burst.address + uint64_t{burst.done} * DATA_BYTES, DATA_BYTES);
    top->m_axi_rresp = response;
    top->m_axi_rlast = burst.done + 1 == burst.beats;
    SET_RID(top, burst.id);
    top->m_axi_rvalid = 1;
  }

  void finish_beat(Vtop* top) {
    statistics.read_beats++;
    Burst& burst = reads_[current_];
    if (++burst.done == burst.beats) reads_.erase(reads_.begin() + current_);
    current_ = -1;
    top->m_axi_rvalid = 0;
  }

  void accept_write() {
    Burst burst;
    burst.address = aw_.address;
    burst.beats = aw_.beats;
    burst.id = static_cast<uint8_t>(aw_.id);
    burst.due = UINT64_MAX;
    statistics.write_bursts++;
    writes_.push_back(std::move(burst));
  }

  void accept_data(uint64_t now) {
    Burst& burst = writes_[writing_];
    statistics.write_beats++;
    burst.data.insert(burst.data.end(), w_data_, w_data_ + DATA_BYTES);
    for (unsigned i = 0; i < DATA_BYTES; i++) burst.strobe.push_back(w_strobe_ >> i & 1);
    const bool last = ++burst.done == burst.beats;
    if (w_last_ != last)
      fail(now, "WLAST is " + std::to_string(w_last_) + " on beat " + std::to_string(burst.done) + " of a burst of " +
                    std::to_string(burst.beats));
    if (!last) return;
    burst.response = response_of(burst.address, burst.data.size());
    burst.due = book(burst.address, burst.beats, true, now) + burst.beats * 100ull / settings.rate;
    burst.due += settings.write_latency;
    if (settings.random) burst.due += random.below(64);
    writing_++;
  }

  void start_response(Vtop* top, uint64_t now) {
    const Burst& burst = writes_.front();
    if (now < burst.due || writing_ == 0) return;
    if (settings.random && random.below(4) == 0) return;
    if (burst.response == kOkay)
      for (size_t i = 0; i < burst.data.size(); i++)
        if (burst.strobe[i]) bytes[burst.address + i] = burst.data[i];
    top->m_axi_bresp = burst.response;
    SET_BID(top, burst.id);
    top->m_axi_bvalid = 1;
    b_valid_ = true;
  }

  uint64_t size_;
  std::deque<Burst> reads_, writes_;
  int current_ = -1;     // index in reads_ of the burst whose beat is on the R channel
  size_t writing_ = 0;   // bursts of writes_ that have all their data
  bool b_valid_ = false;
  bool held_ar_ = false, held_aw_ = false, held_w_ = false;
  Address ar_{}, aw_{};
  uint8_t w_data_[DATA_BYTES] = {0};
  uint64_t w_strobe_ = 0;
  bool w_last_ = false;
  uint64_t bus_free_ = 0, next_refresh_ = 0;
  bool writing_bus_ = false;
  uint64_t open_[kBanks] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
};
#else
class Memory {  // The gateware has its own.
 public:
  explicit Memory(uint64_t) {}
  uint8_t* const bytes = nullptr;
  Settings settings;
  Statistics statistics;
  std::string error;
  Random random;
  void reset(Vtop*) {}
  Seen sample(Vtop*, uint64_t) { return {}; }
  void step(Vtop*, const Seen&, uint64_t) {}
};
#endif
