//! What the loader reads of an ELF file: interpreter, needed libraries, search paths. Follows none of them.

use object::elf::{
    DF_1_NODEFLIB, DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, FileHeader32, FileHeader64, PT_LOAD,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache, ReadRef};
use std::fs::File;
use std::path::Path;

/// Most dynamic entries looked at: 4,096; libraries need some dozens of others.
const DYNAMIC_MAX: usize = 4096;

/// A program or library, as far as the loader cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// Word size, byte order and processor: what libraries have to share with their user.
    pub(crate) kind: ElfKind,
    /// Path of the loader (`PT_INTERP`); none in libraries and static programs.
    pub(crate) interpreter: Option<String>,
    pub(crate) needed: Vec<String>,
    /// `DT_RPATH`, split at colons; ignored by the loader where `runpath` is there.
    pub(crate) rpath: Vec<String>,
    /// `DT_RUNPATH`, split at colons.
    pub(crate) runpath: Option<Vec<String>>,
    /// Whether the loader's default directories and its cache are not searched (`-z nodefaultlib`).
    pub(crate) no_default_dirs: bool,
}

/// Word size, byte order and processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ElfKind {
    pub(crate) is_64: bool,
    pub(crate) is_big_endian: bool,
    pub(crate) machine: u16,
}

/// The processors that kiln has names for, as `uname -m` says them.
pub(crate) const ARCHES: [&str; 10] =
    ["x86_64", "x32", "i686", "aarch64", "armv7l", "riscv64", "ppc64le", "s390x", "loongarch64", "unknown"];

impl ElfKind {
    /// The processor as `uname -m` names it; `unknown` where kiln has no name for it.
    pub(crate) fn arch(&self) -> &'static str {
        use object::elf::*;
        match (self.machine, self.is_64, self.is_big_endian) {
            (EM_X86_64, true, _) => "x86_64",
            (EM_X86_64, false, _) => "x32",
            (EM_386, ..) => "i686",
            (EM_AARCH64, _, false) => "aarch64",
            (EM_ARM, ..) => "armv7l",
            (EM_RISCV, true, _) => "riscv64",
            (EM_PPC64, _, false) => "ppc64le",
            (EM_S390, true, _) => "s390x",
            (EM_LOONGARCH, true, _) => "loongarch64",
            _ => "unknown",
        }
    }
}

/// Reads a file's headers; nothing when it is not ELF, or damaged beyond what the loader would accept.
pub(crate) fn read(path: &Path) -> std::io::Result<Option<Elf>> {
    Ok(parse_bytes(&ReadCache::new(File::open(path)?)))
}

/// The same of what stands in a file.
pub(crate) fn parse_bytes<'a, R: ReadRef<'a>>(data: R) -> Option<Elf> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => parse::<FileHeader64<object::Endianness>, _>(data),
        Ok(FileKind::Elf32) => parse::<FileHeader32<object::Endianness>, _>(data),
        _ => None,
    }
}

fn parse<'a, H: FileHeader<Endian = object::Endianness>, R: ReadRef<'a>>(data: R) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let machine = header.e_machine(endian);
    let kind = ElfKind { is_64: header.is_class_64(), is_big_endian: header.is_big_endian(), machine };
    let mut elf = Elf { kind, ..Elf::default() };
    let segments = header.program_headers(endian, data).ok()?;
    let mut dynamic = None;
    for segment in segments {
        if let Ok(Some(name)) = segment.interpreter(endian, data) {
            elf.interpreter = Some(String::from_utf8(name.to_vec()).ok()?);
        }
        if let Ok(Some(entries)) = segment.dynamic(endian, data) {
            dynamic = Some(entries);
        }
    }
    let Some(dynamic) = dynamic else { return Some(elf) };
    let dynamic = &dynamic[..dynamic.len().min(DYNAMIC_MAX)];
    let entries: Vec<(u64, u64)> = dynamic
        .iter()
        .map(|entry| (entry.d_tag(endian).into(), entry.d_val(endian).into()))
        .take_while(|(tag, _)| *tag != u64::from(object::elf::DT_NULL))
        .collect();
    let value = |wanted: u32| entries.iter().find(|(tag, _)| *tag == u64::from(wanted)).map(|(_, value)| *value);
    let strings = value(DT_STRTAB)?;
    let size = value(DT_STRSZ)?;
    let start = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| {
            let at: u64 = segment.p_vaddr(endian).into();
            let within = strings.checked_sub(at)?;
            (within < segment.p_filesz(endian).into()).then(|| Into::<u64>::into(segment.p_offset(endian)).checked_add(within))
        })
        .flatten()?;
    let string = |offset: u64| -> Option<String> {
        let range = start.checked_add(offset)?..start.checked_add(size)?;
        String::from_utf8(data.read_bytes_at_until(range, 0).ok()?.to_vec()).ok()
    };
    for (tag, value) in &entries {
        match u32::try_from(*tag) {
            Ok(DT_NEEDED) => elf.needed.push(string(*value)?),
            Ok(DT_RPATH) => elf.rpath = split(&string(*value)?),
            Ok(DT_RUNPATH) => elf.runpath = Some(split(&string(*value)?)),
            Ok(DT_FLAGS_1) => elf.no_default_dirs = value & u64::from(DF_1_NODEFLIB) != 0,
            _ => {}
        }
    }
    Some(elf)
}

fn split(paths: &str) -> Vec<String> {
    paths.split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_libraries() {
        let elf = read(Path::new("/bin/sh")).unwrap().expect("the shell is a program");
        assert!(elf.interpreter.as_deref().is_some_and(|path| path.starts_with("/lib")), "{elf:?}");
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.")), "{elf:?}");
        assert_ne!(elf.kind.arch(), "unknown");
    }

    #[test]
    fn damage_is_never_a_panic() {
        let good = std::fs::read("/bin/true").unwrap();
        let parses = |bytes: &[u8]| match FileKind::parse(bytes) {
            Ok(FileKind::Elf64) => parse::<FileHeader64<object::Endianness>, _>(bytes).is_some(),
            Ok(FileKind::Elf32) => parse::<FileHeader32<object::Endianness>, _>(bytes).is_some(),
            _ => false,
        };
        assert!(parses(&good));
        let mut refused = 0;
        for at in 0..1024.min(good.len()) {
            for bits in [0xff, 0x80, 0x01] {
                let mut bad = good.clone();
                bad[at] ^= bits;
                refused += usize::from(!parses(&bad));
            }
            refused += usize::from(!parses(&good[..at * 8]));
        }
        assert!(refused > 100, "{refused}");
        assert_eq!(read(Path::new("/etc/passwd")).unwrap(), None);
    }
}
