//! The compilers that cases are run with, and words that choose among them. Knows their names, not their options.

/// Whose command line a compiler has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// gcc and its kin.
    Gnu,
    /// clang and its kin.
    Llvm,
}

/// One compiler of the machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Driver {
    /// As it is called.
    pub name: &'static str,
    /// Whether it takes C sources for C++.
    pub cxx: bool,
    /// Whose options it has.
    pub vendor: Vendor,
    /// Whether it compiles for another machine.
    pub cross: bool,
}

const fn driver(name: &'static str, cxx: bool, vendor: Vendor, cross: bool) -> Driver {
    Driver { name, cxx, vendor, cross }
}

/// All of them. `scripts/deps` installs them; one that is absent fails every test here.
pub static DRIVERS: &[Driver] = &[
    driver("gcc", false, Vendor::Gnu, false),
    driver("g++", true, Vendor::Gnu, false),
    driver("clang-14", false, Vendor::Llvm, false),
    driver("clang++-14", true, Vendor::Llvm, false),
    driver("clang-19", false, Vendor::Llvm, false),
    driver("clang++-19", true, Vendor::Llvm, false),
    driver("aarch64-linux-gnu-gcc", false, Vendor::Gnu, true),
    driver("aarch64-linux-gnu-g++", true, Vendor::Gnu, true),
];

/// Those that `words` choose: a name chooses that one; of `c`, `c++`, `gnu`, `llvm`, `host`, `cross` all given must hold.
/// Without `c` or `c++`, it is the language `cxx`.
///
/// # Errors
/// A word that is none of these, or nothing is left.
pub(crate) fn choose(words: &[&str], cxx: bool) -> Result<Vec<&'static Driver>, String> {
    let (names, kinds): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| DRIVERS.iter().any(|of| of.name == **word));
    for kind in &kinds {
        if !["c", "c++", "gnu", "llvm", "host", "cross"].contains(kind) {
            return Err(format!("{kind} is no compiler"));
        }
    }
    let cxx = if kinds.contains(&"c") { false } else { cxx || kinds.contains(&"c++") };
    let fits = |of: &Driver| {
        of.cxx == cxx
            && kinds.iter().all(|kind| match *kind {
                "gnu" => of.vendor == Vendor::Gnu,
                "llvm" => of.vendor == Vendor::Llvm,
                "host" => !of.cross,
                "cross" => of.cross,
                _ => true,
            })
    };
    let by_kind = names.is_empty() || !kinds.is_empty();
    let chosen: Vec<&Driver> = DRIVERS.iter().filter(|of| names.contains(&of.name) || (by_kind && fits(of))).collect();
    if chosen.is_empty() { Err(format!("{words:?} choose no compiler")) } else { Ok(chosen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], cxx: bool, expect: &[&str]) {
        let chosen = choose(words, cxx).expect("a choice");
        assert_eq!(chosen.iter().map(|of| of.name).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn words_choose_compilers() {
        check(&[], false, &["gcc", "clang-14", "clang-19", "aarch64-linux-gnu-gcc"]);
        check(&["gnu", "host"], true, &["g++"]);
        check(&["c"], true, &["gcc", "clang-14", "clang-19", "aarch64-linux-gnu-gcc"]);
        check(&["gcc"], true, &["gcc"]);
        check(&["gcc", "llvm"], false, &["gcc", "clang-14", "clang-19"]);
        assert!(choose(&["icc"], false).is_err() && choose(&["llvm", "cross"], false).is_err());
    }
}
