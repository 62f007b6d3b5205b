//! A small project of C and C++ to build, and what a build leaves. Knows nothing of farms.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Units of C and of C++ in a project.
const UNITS: (usize, usize) = (10, 4);
/// The same in a small one: enough that some are before the slow one, and some after it.
const UNITS_SMALL: (usize, usize) = (3, 3);
/// Name of [`slow_source`]'s file where a project holds one.
pub const SLOW_SOURCE: &str = "slow.cc";

/// A generated project in a directory of its own.
#[derive(Debug)]
pub struct Project {
    dir: PathBuf,
    units: u64,
}

impl Project {
    /// Writes the project into `dir`.
    ///
    /// # Panics
    /// `dir` cannot be written.
    #[must_use]
    pub fn write(dir: &Path) -> Self {
        Self::write_units(dir, UNITS)
    }

    /// Writes a small one into `dir`, with [`slow_source`] among its units as `src/slow.cc`.
    ///
    /// # Panics
    /// `dir` cannot be written.
    #[must_use]
    pub fn write_small(dir: &Path, tenths: u32) -> Self {
        let mut project = Self::write_units(dir, UNITS_SMALL);
        fs::write(dir.join("src").join(SLOW_SOURCE), slow_source(tenths)).expect("a source");
        project.units += 1;
        project
    }

    fn write_units(dir: &Path, (c_units, cxx_units): (usize, usize)) -> Self {
        let put = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        put("include/shape.h", SHAPE);
        put("include/common.hpp", COMMON);
        put("Makefile", MAKEFILE);
        let mut main = String::from("#include <stdio.h>\n#include \"shape.h\"\n");
        let mut sum = String::new();
        for unit in 0..c_units {
            put(&format!("src/c{unit}.c"), &c_unit(unit));
            let _ = writeln!(main, "int c{unit}(int);");
            let _ = write!(sum, " + c{unit}(argc)");
        }
        for unit in 0..cxx_units {
            put(&format!("src/x{unit}.cc"), &cxx_unit(unit));
            let _ = writeln!(main, "int x{unit}(int);");
            let _ = write!(sum, " + x{unit}(argc)");
        }
        let _ = writeln!(main, "int main(int argc, char **argv) {{ (void)argv; printf(\"%d\\n\", 0{sum}); return 0; }}");
        put("src/main.c", &main);
        Self { dir: dir.to_owned(), units: (c_units + cxx_units + 1) as u64 }
    }

    /// Where it stands.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Compile commands of a build from clean.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Has `command`, which is to call `make`, build it with `wrapper` before the compilers. The salt stands in every
    /// command line and changes no product: another salt is another action.
    pub fn make<'a>(&self, command: &'a mut Command, wrapper: &str, salt: u32) -> &'a mut Command {
        command.current_dir(&self.dir).args(["-j3", "--no-print-directory"]);
        command.arg(format!("CC={wrapper} gcc")).arg(format!("CXX={wrapper} g++")).arg(format!("SALT={salt}"))
    }

    /// Takes all products out of the directory.
    ///
    /// # Panics
    /// They cannot be read or removed.
    #[must_use]
    pub fn take_products(&self) -> BTreeMap<String, Vec<u8>> {
        let out = self.dir.join("out");
        let mut products = BTreeMap::new();
        for entry in fs::read_dir(&out).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            products.insert(name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
        if out.exists() {
            fs::remove_dir_all(&out).expect("products removed");
        }
        products
    }

    /// How many objects stand there now.
    #[must_use]
    pub fn objects(&self) -> usize {
        let names = fs::read_dir(self.dir.join("out")).into_iter().flatten().flatten();
        names.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "o")).count()
    }
}

/// C++ that takes a compiler about `tenths` tenths of a second of CPU: constant evaluation, within the default limits.
#[must_use]
pub fn slow_source(tenths: u32) -> String {
    // 250 thousand iterations are just below gcc's limit of 2^18 of one loop, and take it a third of a second.
    format!(
        "constexpr unsigned spin(unsigned seed) {{\n  unsigned x = seed;\n  for (int i = 0; i < 75000; ++i) \
         x = x * 1664525u + 1013904223u;\n  return x;\n}}\ntemplate <unsigned N> struct S {{ static constexpr unsigned v = \
         spin(N) ^ S<N - 1>::v; }};\ntemplate <> struct S<0> {{ static constexpr unsigned v = 1; }};\n\
         unsigned slow() {{ return S<{tenths}>::v; }}\n"
    )
}

const SHAPE: &str = "#ifndef SHAPE_H\n#define SHAPE_H\n#include <stddef.h>\n\
     struct shape { int width, height; const char *name; };\n\
     static inline int area(const struct shape *s) { return s->width * s->height; }\n\
     int describe(char *to, size_t size, const struct shape *s);\n#endif\n";

const COMMON: &str = "#pragma once\n#include <algorithm>\n#include <map>\n#include <string>\n#include <vector>\n\
     template <class T> T total(const std::vector<T> &of) { T sum{}; for (const T &t : of) sum += t; return sum; }\n";

const MAKEFILE: &str = "\
SALT ?= 0
CFLAGS = -O2 -g -Wall -Iinclude -DSALT=$(SALT)
SOURCES = $(wildcard src/*.c src/*.cc)
OBJECTS = $(patsubst src/%,out/%.o,$(SOURCES))
out/program: out/libshape.a
\t$(CXX) -o $@ $<
out/libshape.a: $(OBJECTS)
\trm -f $@
\tar rcD $@ $^
out/%.c.o: src/%.c
\t@mkdir -p out
\t$(CC) $(CFLAGS) -MD -MP -c -o $@ $<
out/%.cc.o: src/%.cc
\t@mkdir -p out
\t$(CXX) $(CFLAGS) -std=c++17 -MD -MP -c -o $@ $<
-include $(OBJECTS:.o=.d)
";

fn c_unit(unit: usize) -> String {
    format!(
        "#include <stdio.h>\n#include <string.h>\n#include \"shape.h\"\n\
         static const struct shape all[] = {{{{{unit}, 3, \"{unit}\"}}, {{{unit} + 1, 4, __FILE__}}}};\n\
         int c{unit}(int of) {{\n  int sum = of;\n  for (size_t i = 0; i < sizeof all / sizeof *all; i++)\n    \
         sum += area(&all[i]) + (int)strlen(all[i].name);\n  return sum;\n}}\n"
    )
}

fn cxx_unit(unit: usize) -> String {
    format!(
        "#include \"common.hpp\"\nextern \"C\" int x{unit}(int of) {{\n  std::map<std::string, std::vector<int>> by;\n  \
         for (int i = 0; i < of + {unit}; ++i) by[std::to_string(i % 7)].push_back(i);\n  int sum = 0;\n  \
         for (auto &[name, list] : by) {{ std::sort(list.begin(), list.end()); sum += total(list) + (int)name.size(); }}\n  \
         return sum;\n}}\n"
    )
}
