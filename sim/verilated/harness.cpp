// The clock, an AXI4-Lite manager or the far end of a link, and the C interface of a compiled simulation (see simulation.py for its user).
#include <memory>

#include "Vtop.h"
#include "link.h"
#include "memory.h"
#include "verilated.h"
#if WAVES
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr int kResetCycles = 8;
constexpr uint64_t kRegisterTimeout = 10000;  // cycles an AXI4-Lite access may take

// One event of the trace; `kind` is the bit group of the trace pins, `engine` the bit in it.
struct Event {
  uint64_t cycle;
  uint32_t kind, engine;
};
enum Kind : uint32_t { kStarted, kRetired, kBusy, kWaitIn, kWaitOut, kIdle };

class Simulation {
 public:
  explicit Simulation(uint64_t size) : memory(size), top_(new Vtop(&context_)) {}
  ~Simulation() {
    waves(nullptr);
    top_->final();
  }

  Memory memory;
  uint64_t cycle = 0;
  std::vector<Event> events;
  bool log_states = false;
  std::string error;
#if HAS_LINK
  Link link;
#endif
#if HAS_CORE_CLOCK
  uint64_t core_period = 1, period = 1;  // of core_clk and of clk, in any unit
#endif

  bool waves(const char* path) {
#if WAVES
    if (vcd_) vcd_->close();
    vcd_.reset();
    if (!path) return true;
    context_.traceEverOn(true);
    vcd_.reset(new VerilatedVcdC);
    top_->trace(vcd_.get(), 99);
    vcd_->open(path);
    return vcd_->isOpen();
#else
    return path == nullptr;
#endif
  }

#if VM_COVERAGE
  void coverage(const char* path) { context_.coveragep()->write(path); }
#endif

  void reset() {
    memory.reset(top_.get());
#if HAS_LINK
    link.reset(top_.get());
#endif
#if HAS_CONTROL
    top_->s_axil_awvalid = top_->s_axil_wvalid = top_->s_axil_arvalid = 0;
    top_->s_axil_bready = top_->s_axil_rready = 0;
#endif
    top_->rst = 1;
    for (int i = 0; i < kResetCycles; i++) edge(false);
    top_->rst = 0;
  }

  int64_t run(uint64_t limit) {
    for (uint64_t i = 0; i < limit; i++) {
      if (top_->interrupt) return 1;
      edge(true);
      if (failed()) return -1;
    }
    return top_->interrupt ? 1 : 0;
  }

#if HAS_LINK
  // Until the device has sent something, or `limit` cycles; whether it has, or -1.
  int64_t serve(uint64_t limit) {
    for (uint64_t i = 0; i < limit && !link.answered(); i++) {
      edge(true);
      if (failed()) return -1;
    }
    return link.answered();
  }
#endif

#if HAS_CONTROL
  int write32(uint32_t address, uint32_t value) {
    uint64_t aw_wait = gap(), w_wait = gap(), b_wait = gap();
    bool aw = false, w = false;
    top_->s_axil_awaddr = address & MASK_AWADDR;
    top_->s_axil_wdata = value;
    top_->s_axil_wstrb = 15;
    for (uint64_t i = 0; i < kRegisterTimeout; i++) {
      top_->s_axil_awvalid = !aw && i >= aw_wait;
      top_->s_axil_wvalid = !w && i >= w_wait;
      top_->s_axil_bready = aw && w && b_wait == 0;
      settle();
      const bool took_aw = top_->s_axil_awvalid && top_->s_axil_awready;
      const bool took_w = top_->s_axil_wvalid && top_->s_axil_wready;
      const bool valid = top_->s_axil_bvalid, took_b = valid && top_->s_axil_bready;
      if (valid && !(aw && w)) return refuse("write", address, "was answered before it was made");
      const unsigned response = top_->s_axil_bresp;
      edge(true);
      aw |= took_aw;
      w |= took_w;
      if (aw && w && b_wait) b_wait--;
      if (took_b) {
        top_->s_axil_bready = 0;
        return response == kOkay ? (failed() ? -1 : 0) : refuse("write", address, "answered an error");
      }
    }
    return refuse("write", address, "was never answered");
  }

  int read32(uint32_t address, uint32_t* value) {
    uint64_t ar_wait = gap(), r_wait = gap();
    bool ar = false;
    top_->s_axil_araddr = address & MASK_ARADDR;
    for (uint64_t i = 0; i < kRegisterTimeout; i++) {
      top_->s_axil_arvalid = !ar && i >= ar_wait;
      top_->s_axil_rready = ar && r_wait == 0;
      settle();
      const bool took_ar = top_->s_axil_arvalid && top_->s_axil_arready;
      const bool took_r = top_->s_axil_rvalid && top_->s_axil_rready;
      if (top_->s_axil_rvalid && !ar) return refuse("read", address, "was answered before it was made");
      *value = top_->s_axil_rdata;
      const unsigned response = top_->s_axil_rresp;
      edge(true);
      ar |= took_ar;
      if (ar && r_wait) r_wait--;
      if (took_r) {
        top_->s_axil_rready = 0;
        return response == kOkay ? (failed() ? -1 : 0) : refuse("read", address, "answered an error");
      }
    }
    return refuse("read", address, "was never answered");
  }
#else
  int write32(uint32_t address, uint32_t) { return refuse("write", address, "goes over the link"); }
  int read32(uint32_t address, uint32_t*) { return refuse("read", address, "goes over the link"); }
#endif

 private:
  uint64_t gap() { return memory.settings.random ? memory.random.below(6) : 0; }

  int refuse(const char* what, uint32_t address, const char* why) {
    char text[96];
    std::snprintf(text, sizeof text, "register %s at 0x%x %s", what, address, why);
    if (error.empty()) error = text;
    return -1;
  }

  bool failed() {
    if (error.empty() && !memory.error.empty()) error = "AXI protocol violation in " + memory.error;
#if HAS_PACKETS
    if (error.empty() && link.wrong_length) error = "a datagram is not as long as it was said to be";
#endif
    return !error.empty();
  }

  void settle() {
    top_->clk = 0;
    top_->eval();
  }

#if HAS_CORE_CLOCK
  // The edges of core_clk since the last one of clk; of two at the same time this one comes first.
  void core_edges() {
    for (core_time_ += period; core_time_ >= core_period; core_time_ -= core_period) {
      for (int level : {1, 0}) {
        top_->core_clk = level;
        top_->eval();
      }
    }
  }
  uint64_t core_time_ = 0;
#endif

  void edge(bool running) {
#if HAS_CORE_CLOCK
    core_edges();
#endif
    settle();
#if WAVES
    if (vcd_) vcd_->dump(cycle * 10);
#endif
    Seen seen{};
    if (running) {
      seen = memory.sample(top_.get(), cycle);
#if HAS_PACKETS
      link.sample(top_.get());
#endif
#if HAS_TRACE
      trace();
#endif
    }
    top_->clk = 1;
    top_->eval();
#if WAVES
    if (vcd_) vcd_->dump(cycle * 10 + 5);
#endif
    if (running) {
      memory.step(top_.get(), seen, cycle);
#if HAS_LINK
      link.step(top_.get());
#endif
    }
    cycle++;
  }

#if HAS_TRACE
  void trace() {
    const uint32_t started = TRACE_STARTED(top_), retired = TRACE_RETIRED(top_);
    if (started | retired) {
      for (uint32_t e = 0; e < ENGINES; e++) {
        if (started >> e & 1) events.push_back({cycle, kStarted, e});
        if (retired >> e & 1) events.push_back({cycle, kRetired, e});
      }
    }
    if (!log_states) return;
    const uint32_t busy = TRACE_BUSY(top_), in = TRACE_WAIT_IN(top_), out = TRACE_WAIT_OUT(top_);
    const uint32_t states = busy | in << ENGINES | out << 2 * ENGINES;
    uint32_t changed = states ^ states_;
    changed = (changed | changed >> ENGINES | changed >> 2 * ENGINES) & ((1u << ENGINES) - 1);
    for (uint32_t e = 0; changed; e++, changed >>= 1)
      if (changed & 1)
        events.push_back({cycle, busy >> e & 1 ? kBusy : in >> e & 1 ? kWaitIn : out >> e & 1 ? kWaitOut : kIdle, e});
    states_ = states;
  }
  uint32_t states_ = 0;
#endif

  VerilatedContext context_;
  std::unique_ptr<Vtop> top_;
#if WAVES
  std::unique_ptr<VerilatedVcdC> vcd_;
#endif
};

int64_t* setting(Settings& s, const std::string& name) {
  struct Row {
    const char* name;
    int64_t* value;
  };
  const Row rows[] = {
      {"latency", &s.latency},         {"write_latency", &s.write_latency}, {"row_miss", &s.row_miss},
      {"turnaround", &s.turnaround},   {"refresh", &s.refresh},             {"refresh_period", &s.refresh_period},
      {"rate", &s.rate},               {"outstanding", &s.outstanding},     {"random", &s.random},
      {"interleave", &s.interleave},   {"error_base", &s.error_base},       {"error_size", &s.error_size},
  };
  for (const Row& row : rows)
    if (name == row.name) return row.value;
  return nullptr;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API void* sim_open(uint64_t size) {
  auto* sim = new Simulation(size);
  if (sim->memory.bytes || !HAS_MEMORY) return sim;
  delete sim;
  return nullptr;
}
API void sim_close(void* sim) { delete static_cast<Simulation*>(sim); }
API int sim_set(void* sim, const char* name, int64_t value) {
  int64_t* target = setting(static_cast<Simulation*>(sim)->memory.settings, name);
  if (target) *target = value;
  return target ? 0 : -1;
}
API void sim_reset(void* sim) { static_cast<Simulation*>(sim)->reset(); }
API int64_t sim_run(void* sim, uint64_t limit) { return static_cast<Simulation*>(sim)->run(limit); }
API int sim_read32(void* sim, uint32_t address, uint32_t* value) {
  return static_cast<Simulation*>(sim)->read32(address, value);
}
API int sim_write32(void* sim, uint32_t address, uint32_t value) {
  return static_cast<Simulation*>(sim)->write32(address, value);
}
#if HAS_CORE_CLOCK
API void sim_core_clock(void* sim, uint64_t core_period, uint64_t period) {
  static_cast<Simulation*>(sim)->core_period = core_period;
  static_cast<Simulation*>(sim)->period = period;
}
#endif
#if HAS_LINK
API void sim_period(void* sim, uint64_t cycles) { static_cast<Simulation*>(sim)->link.period = cycles; }
API int sim_link_idle(void* sim) { return static_cast<Simulation*>(sim)->link.idle(); }
API int64_t sim_serve(void* sim, uint64_t limit) { return static_cast<Simulation*>(sim)->serve(limit); }
#endif
#if HAS_SERIAL
API void sim_send(void* sim, const uint8_t* data, uint64_t size) {
  auto& queue = static_cast<Simulation*>(sim)->link.to_device;
  queue.insert(queue.end(), data, data + size);
}
API uint64_t sim_receive(void* sim, uint8_t* data, uint64_t size) {
  auto& queue = static_cast<Simulation*>(sim)->link.from_device;
  const uint64_t count = std::min<uint64_t>(size, queue.size());
  std::copy(queue.begin(), queue.begin() + count, data);
  queue.erase(queue.begin(), queue.begin() + count);
  return count;
}
#elif HAS_PACKETS
API void sim_send(void* sim, const uint8_t* data, uint64_t size) {
  auto& queue = static_cast<Simulation*>(sim)->link.to_device;
  for (uint64_t i = 0; i < size; i++) queue.push_back({data[i], i + 1 == size});
}
API uint64_t sim_receive(void* sim, uint8_t* data, uint64_t size) {
  auto& queue = static_cast<Simulation*>(sim)->link.from_device;
  if (queue.empty()) return 0;
  const uint64_t count = std::min<uint64_t>(size, queue.front().size());
  std::copy(queue.front().begin(), queue.front().begin() + count, data);
  queue.pop_front();
  return count;
}
#endif
API uint8_t* sim_memory(void* sim) { return static_cast<Simulation*>(sim)->memory.bytes; }
API uint64_t sim_cycle(void* sim) { return static_cast<Simulation*>(sim)->cycle; }
API const char* sim_error(void* sim) { return static_cast<Simulation*>(sim)->error.c_str(); }
API const Statistics* sim_statistics(void* sim) { return &static_cast<Simulation*>(sim)->memory.statistics; }
API uint64_t sim_events(void* sim, const Event** events) {
  auto* s = static_cast<Simulation*>(sim);
  *events = s->events.data();
  return s->events.size();
}
API void sim_clear_events(void* sim) { static_cast<Simulation*>(sim)->events.clear(); }
API void sim_log_states(void* sim, int on) { static_cast<Simulation*>(sim)->log_states = on != 0; }
#if VM_COVERAGE
API void sim_coverage(void* sim, const char* path) { static_cast<Simulation*>(sim)->coverage(path); }
#endif
API int sim_waves(void* sim, const char* path) { return static_cast<Simulation*>(sim)->waves(path) ? 0 : -1; }
