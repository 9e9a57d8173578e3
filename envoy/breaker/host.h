// What Envoy offers to Wasm modules, as far as it is used here: proxy-wasm ABI 0.2.1
// (https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1), and a clock of WASI.
//
// Addresses are offsets in the module's memory. What the host returns, it has allocated with our `malloc`.

#pragma once

#include <stddef.h>
#include <stdint.h>

typedef enum { OK = 0, CAS_MISMATCH = 8 } status_t;

enum { CONTINUE = 0, PAUSE = 1 };   // what a callback tells the host to do
enum { RESPONSE_HEADERS = 2 };      // a map
enum { CONFIGURATION = 7 };         // a buffer
enum { COUNTER = 0 };               // a type of metrics
enum { NO_GRPC_STATUS = -1 };       // the host takes one that fits the HTTP status
enum { CLOCK_MONOTONIC = 1 };       // steps of the wall clock open and close no circuit

#define HOST(function) __attribute__((import_module("env"), import_name("proxy_" #function))) status_t proxy_##function
#define EXPORT __attribute__((visibility("default")))

// The path's parts are separated by NUL.
HOST(get_property)(const char *path, size_t path_size, char **value, size_t *value_size);

HOST(get_buffer_bytes)(int buffer, size_t start, size_t most, char **value, size_t *value_size);
HOST(get_header_map_value)(int map, const char *name, size_t name_size, char **value, size_t *value_size);

// `headers`: their number, the sizes of each name and value, then each name and value with a NUL behind it.
HOST(send_local_response)(int status, const char *details, size_t details_size, const char *body, size_t body_size,
                          const char *headers, size_t headers_size, int grpc_status);

// Data that all workers see. `set` fails with CAS_MISMATCH when somebody has set it since `cas` was told; it does not
// compare when there is nothing yet.
HOST(get_shared_data)(const char *key, size_t key_size, char **value, size_t *value_size, uint32_t *cas);
HOST(set_shared_data)(const char *key, size_t key_size, const char *value, size_t value_size, uint32_t cas);

HOST(define_metric)(int type, const char *name, size_t name_size, uint32_t *metric);
HOST(increment_metric)(uint32_t metric, int64_t offset);

__attribute__((import_module("wasi_snapshot_preview1"), import_name("clock_time_get")))
uint16_t clock_time_get(uint32_t clock, uint64_t precision, uint64_t *nanoseconds);
