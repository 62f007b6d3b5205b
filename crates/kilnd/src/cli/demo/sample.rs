//! Writes a sample project: C and C++ units that lean on the standard library, with a Makefile. Runs nothing.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

/// Writes `units` units to `dir`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(dir: &Path, units: u32) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text)).with_context(|| path.display().to_string())
    };
    put("Makefile", MAKEFILE)?;
    put("include/sample.h", SAMPLE_H)?;
    put("include/sample.hpp", SAMPLE_HPP)?;
    put("include/config.h", "#define SAMPLE_VERSION \"1\"\n#define SAMPLE_LIMIT 64\n")?;
    let mut declared = String::from("#ifndef UNITS_H\n#define UNITS_H\n");
    let mut called = String::new();
    for number in 0..units {
        // Two of five are C++, spread evenly.
        let (file, text, name) = if number % 5 < 3 {
            (format!("src/c{number}.c"), c_unit(number), format!("c_unit_{number}"))
        } else {
            (format!("src/x{number}.cpp"), cpp_unit(number), format!("cpp_unit_{number}"))
        };
        put(&file, &text)?;
        // A string takes everything.
        let _ = writeln!(declared, "long {name}(long);");
        let _ = writeln!(called, "    sum += {name}(sum % 97);");
    }
    declared.push_str("#endif\n");
    put("include/units.h", &declared)?;
    let main = format!(
        "#include \"sample.h\"\n#include \"units.h\"\n\nint main(void) {{\n    long sum = 1;\n{called}    printf(\"%ld\\n\", sum);\n    return 0;\n}}\n"
    );
    put("src/main.c", &main)
}

const MAKEFILE: &str = "\
CC ?= gcc
CXX ?= g++
CFLAGS = -O2 -g -Wall -Iinclude -MMD -MP
CXXFLAGS = -O2 -g -Wall -std=c++17 -Iinclude -MMD -MP
OBJECTS = $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c)) $(patsubst src/%.cpp,obj/%.o,$(wildcard src/*.cpp))

sample: $(OBJECTS)
\tg++ -o $@ $(sort $(OBJECTS)) -lm

obj/%.o: src/%.c | obj
\tgcc $(CFLAGS) -c -o $@ $<

obj/%.o: src/%.cpp | obj
\tg++ $(CXXFLAGS) -c -o $@ $<

obj:
\tmkdir -p $@

-include $(wildcard obj/*.d)
";

const SAMPLE_H: &str = "\
#ifndef SAMPLE_H
#define SAMPLE_H
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include \"config.h\"
#if defined(__has_include)
#if __has_include(\"local.h\")
#include \"local.h\"
#endif
#endif
#define CLAMP(value, low, high) ((value) < (low) ? (low) : (value) > (high) ? (high) : (value))
struct record { long key; double weight; char name[32]; };
static inline int record_order(const void *a, const void *b) {
    const struct record *one = a, *other = b;
    return (one->key > other->key) - (one->key < other->key);
}
#endif
";

const SAMPLE_HPP: &str = "\
#pragma once
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>
#include \"config.h\"
template <typename Key, typename Value> class Table {
  public:
    void put(const Key &key, Value value) { rows_[key].push_back(std::move(value)); }
    std::optional<Value> last(const Key &key) const {
        auto found = rows_.find(key);
        if (found == rows_.end() || found->second.empty()) return std::nullopt;
        return found->second.back();
    }
    template <typename Fold> long fold(long start, Fold fold) const {
        for (const auto &[key, values] : rows_) start = std::accumulate(values.begin(), values.end(), start, fold);
        return start;
    }
  private:
    std::map<Key, std::vector<Value>> rows_;
};
";

fn c_unit(number: u32) -> String {
    format!(
        "#include \"sample.h\"\n#include \"units.h\"\n\n\
         static struct record records[SAMPLE_LIMIT];\n\n\
         static double weigh(const struct record *record, int depth) {{\n    \
             if (depth > {depth}) return record->weight;\n    \
             return sqrt(fabs(record->weight * {factor}.5)) + weigh(record, depth + 1);\n}}\n\n\
         long c_unit_{number}(long seed) {{\n    \
             long sum = seed;\n    \
             for (int i = 0; i < SAMPLE_LIMIT; i++) {{\n        \
                 records[i].key = (seed * {prime} + i * {number}) % 1009;\n        \
                 records[i].weight = (double)(i ^ {number}) / 3;\n        \
                 snprintf(records[i].name, sizeof records[i].name, \"r%d-%s\", i, SAMPLE_VERSION);\n    \
             }}\n    \
             qsort(records, SAMPLE_LIMIT, sizeof *records, record_order);\n    \
             for (int i = 0; i < SAMPLE_LIMIT; i++) {{\n        \
                 assert(records[i].key < 1009);\n        \
                 sum += CLAMP((long)weigh(&records[i], 0), -9, 9) + toupper(records[i].name[0]) + (long)strlen(records[i].name);\n    \
             }}\n    \
             return sum % 100003;\n}}\n",
        depth = number % 7 + 2,
        factor = number % 11 + 1,
        prime = 2 * number + 31,
    )
}

fn cpp_unit(number: u32) -> String {
    format!(
        "#include \"sample.hpp\"\nextern \"C\" {{\n#include \"units.h\"\n}}\n\n\
         namespace {{\n\
         struct Shape {{ virtual ~Shape() = default; virtual long area() const = 0; }};\n\
         struct Square : Shape {{ long side; explicit Square(long s) : side(s) {{}} long area() const override {{ return side * side; }} }};\n\
         struct Strip : Shape {{ long a; explicit Strip(long s) : a(s) {{}} long area() const override {{ return a * {width}; }} }};\n\n\
         std::vector<std::unique_ptr<Shape>> shapes(long seed) {{\n    \
             std::vector<std::unique_ptr<Shape>> made;\n    \
             for (long i = 0; i < SAMPLE_LIMIT; i++) {{\n        \
                 if ((i + seed) % 3) made.push_back(std::make_unique<Square>(i));\n        \
                 else made.push_back(std::make_unique<Strip>(i + {number}));\n    \
             }}\n    \
             return made;\n}}\n\
         }}\n\n\
         long cpp_unit_{number}(long seed) {{\n    \
             Table<std::string, long> table;\n    \
             std::unordered_map<long, std::set<std::string>> index;\n    \
             for (const auto &shape : shapes(seed)) {{\n        \
                 std::ostringstream name;\n        \
                 name << \"shape-\" << shape->area() % {modulus} << '-' << SAMPLE_VERSION;\n        \
                 table.put(name.str(), shape->area());\n        \
                 index[shape->area() % 5].insert(name.str());\n    \
             }}\n    \
             std::function<long(long, long)> fold = [&](long sum, long area) {{ return (sum * 31 + area) % 100003; }};\n    \
             long sum = table.fold(seed, fold);\n    \
             for (auto &[key, names] : index)\n        \
                 sum += key + static_cast<long>(std::count_if(names.begin(), names.end(), [](const auto &name) {{ return name.size() > 8; }}));\n    \
             return sum + table.last(\"shape-1-1\").value_or({number});\n}}\n",
        width = number % 13 + 2,
        modulus = number % 17 + 3,
    )
}
