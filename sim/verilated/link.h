// The far end of a host link, bytes in buffers: a UART's two wires, or the payloads of datagrams.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "pins.h"

#if HAS_SERIAL
// Eight data bits, no parity, one stop bit, back to back while there are bytes; receives at the middle of each bit.
class Link {
 public:
  uint64_t period = 4;  // cycles per bit
  std::deque<uint8_t> to_device, from_device;

  void reset(Vtop* top) {
    to_device.clear();
    from_device.clear();
    sending_ = receiving_ = 0;
    top->uart_rx = 1;
  }

  bool idle() const { return to_device.empty() && !sending_ && !receiving_; }
  bool answered() const { return !from_device.empty(); }

  void step(Vtop* top) {
    send(top);
    receive(top->uart_tx);
  }

 private:
  void send(Vtop* top) {
    if (sending_ && --wait_) return;
    if (sending_) sending_--;
    if (!sending_) {
      if (to_device.empty()) return;
      bits_ = 0x200u | to_device.front() << 1;  // start, data, stop
      to_device.pop_front();
      sending_ = 10;
    }
    top->uart_rx = bits_ & 1;
    bits_ >>= 1;
    wait_ = period;
  }

  void receive(bool line) {
    if (!receiving_) {
      if (line) return;
      receiving_ = 10;
      until_ = period / 2;
      return;
    }
    if (--until_) return;
    until_ = period;
    in_ = in_ >> 1 | (line ? 0x200u : 0);
    if (receiving_ == 10 && line) receiving_ = 1;  // too short for a start bit
    if (--receiving_ == 0 && line && !(in_ & 1)) from_device.push_back(in_ >> 1);
  }

  unsigned sending_ = 0, receiving_ = 0, bits_ = 0, in_ = 0;
  uint64_t wait_ = 0, until_ = 0;
};
#elif HAS_PACKETS
struct Byte {
  uint8_t data;
  bool last;
};

// One byte every `period` cycles in each direction, if the device takes or has one.
class Link {
 public:
  uint64_t period = 8;
  std::deque<Byte> to_device;
  std::deque<std::vector<uint8_t>> from_device;  // whole datagrams
  bool wrong_length = false;

  void reset(Vtop* top) {
    to_device.clear();
    from_device.clear();
    packet_.clear();
    top->link_rx_valid = top->link_tx_ready = 0;
    sent_ = taken_ = period;
  }

  bool idle() const { return to_device.empty() && packet_.empty(); }
  bool answered() const { return !from_device.empty(); }

  // Before the edge: what will be exchanged.
  void sample(Vtop* top) {
    accepted_ = top->link_rx_valid && top->link_rx_ready;
    if (top->link_tx_valid && top->link_tx_ready) {
      packet_.push_back(top->link_tx_data);
      taken_ = 0;
      if (top->link_tx_last) {
        wrong_length |= packet_.size() != top->link_tx_length;
        from_device.push_back(std::move(packet_));
        packet_.clear();
      }
    }
  }

  void step(Vtop* top) {
    if (accepted_) {
      to_device.pop_front();
      top->link_rx_valid = 0;
      sent_ = 0;
    }
    if (++sent_ >= period && !to_device.empty()) {
      top->link_rx_valid = 1;
      top->link_rx_data = to_device.front().data;
      top->link_rx_last = to_device.front().last;
    }
    top->link_tx_ready = ++taken_ >= period;
  }

 private:
  std::vector<uint8_t> packet_;
  uint64_t sent_ = 0, taken_ = 0;
  bool accepted_ = false;
};
#endif
