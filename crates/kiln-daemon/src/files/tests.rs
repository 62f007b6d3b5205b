//! What is remembered of files never outlives them: changes of every kind against real directories.

use kiln_scan::{Compiler, Dialect, Entry, FileView as _, Language, Names};
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

use super::*;

struct World {
    dir: TempDir,
    files: Files,
    names: Names,
}

impl World {
    fn with(entries: &[(&str, &str)]) -> World {
        let world = World { dir: tempfile::tempdir().expect("a directory"), files: Files::default(), names: Names::new() };
        for (name, text) in entries {
            world.write(name, text);
        }
        world
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// What a new request's scan sees under `name` in `dir`.
    fn entry(&self, dir: &str, name: &str) -> Entry {
        let view = View::new(&self.files, &self.names, self.files.begin());
        let id = view.dir(&self.at(dir)).expect("a directory");
        view.entry(id, name)
    }

    fn found(&self, name: &str) -> Found {
        let epoch = self.files.begin();
        let WalkEnd::File(file) = self.files.walk(&self.at(name), epoch).end else { panic!("{name} is no file") };
        self.files.found(file, epoch).expect("a readable file")
    }

    /// Whether a look at `name` in `dir` by a new request raises the generation.
    fn notices(&self, dir: &str, name: &str) -> bool {
        let before = self.files.generation();
        let _ = self.entry(dir, name);
        self.files.generation() != before
    }
}

fn dialect(language: Language) -> Dialect {
    Dialect::select(Compiler::Gcc, 12, language, "").expect("a dialect")
}

#[test]
fn a_content_that_moved_is_lexed_for_another_dialect() {
    let world = World::with(&[("0.h", "#include \"x.h\"\n")]);
    let found = world.found("0.h");
    world.files.directives(found.content, dialect(Language::C), &world.names).expect("directives");
    let mut moved = found;
    for name in 1..2 * store::PATHS_TRIED_MAX {
        fs::rename(world.at(&format!("{}.h", name - 1)), world.at(&format!("{name}.h"))).expect("a new name");
        moved = world.found(&format!("{name}.h"));
        assert_eq!(moved.content, found.content);
    }
    let again = world.files.directives(moved.content, dialect(Language::Cxx), &world.names);
    again.expect("directives of the file where it is now");
}

#[test]
fn a_new_content_is_seen_at_once_and_changes_no_name() {
    let world = World::with(&[("a.h", "one")]);
    let before = world.found("a.h");
    let Entry::File(file) = world.entry("", "a.h") else { panic!("no file") };
    let generation = world.files.generation();
    // The same size, within the same tick.
    world.write("a.h", "two");
    assert_ne!(world.found("a.h").content, before.content);
    assert_eq!(world.entry("", "a.h"), Entry::File(file));
    assert_eq!(world.files.generation(), generation);
}

#[test]
fn a_name_that_comes_or_goes_is_noticed_and_others_are_not() {
    let world = World::with(&[("inc/a.h", "")]);
    assert_eq!(world.entry("inc", "b.h"), Entry::Absent);
    for round in 0..200 {
        // An object file beside the headers: nobody asked for it, and the directory is not listed again each time.
        world.write(&format!("inc/{round}.o"), "");
        assert!(!world.notices("inc", "b.h"), "round {round}");
    }
    world.write("inc/b.h", "");
    assert!(world.notices("inc", "b.h"));
    assert!(matches!(world.entry("inc", "b.h"), Entry::File(_)));
    fs::remove_file(world.at("inc/b.h")).expect("removed");
    assert!(world.notices("inc", "b.h"));
    assert_eq!(world.entry("inc", "b.h"), Entry::Absent);
}

#[test]
fn a_directory_link_that_is_retargeted_leads_elsewhere() {
    let world = World::with(&[("one/a.h", "1"), ("two/a.h", "2")]);
    symlink("one", world.at("inc")).expect("a link");
    let Entry::File(first) = world.entry("inc", "a.h") else { panic!("no file") };
    let generation = world.files.generation();
    fs::remove_file(world.at("inc")).expect("removed");
    symlink("two", world.at("inc")).expect("a link");
    let Entry::File(second) = world.entry("inc", "a.h") else { panic!("no file") };
    assert_ne!(first, second);
    assert_ne!(world.files.generation(), generation);
}

#[test]
fn a_file_link_is_followed_anew_when_its_target_comes() {
    let world = World::with(&[("inc/b.h", ""), ("far/x", "")]);
    symlink("../far/a.h", world.at("inc/a.h")).expect("a link");
    assert_eq!(world.entry("inc", "a.h"), Entry::Absent);
    let dir = world.files.walk(&world.at("inc"), world.files.begin()).directory().expect("a directory");
    let generation = world.files.generation();
    world.files.check_links(dir, world.files.begin());
    assert_eq!(world.files.generation(), generation);
    world.write("far/a.h", "");
    world.files.check_links(dir, world.files.begin());
    assert_ne!(world.files.generation(), generation, "the link's own directory is as it was");
    assert!(matches!(world.entry("inc", "a.h"), Entry::File(_)));
}

#[test]
fn a_directory_in_place_of_another_is_another() {
    let world = World::with(&[("inc/a.h", "1"), ("new/b.h", "2")]);
    assert!(matches!(world.entry("inc", "a.h"), Entry::File(_)));
    fs::rename(world.at("inc"), world.at("old")).expect("a new name");
    fs::rename(world.at("new"), world.at("inc")).expect("a new name");
    assert_eq!(world.entry("inc", "a.h"), Entry::Absent);
    assert!(matches!(world.entry("inc", "b.h"), Entry::File(_)));
}

#[test]
fn loops_and_devices_end_a_walk() {
    let world = World::with(&[]);
    symlink("b", world.at("a")).expect("a link");
    symlink("a", world.at("b")).expect("a link");
    let end = |path: &str| world.files.walk(path, world.files.begin()).end;
    assert_eq!(end(&world.at("a")), WalkEnd::Other);
    assert_eq!(end("/dev/null"), WalkEnd::Other);
    assert_eq!(end(&world.at("nothing/below")), WalkEnd::Absent);
    assert_eq!(end("/.."), WalkEnd::Directory(world.files.root_dir()));
}

#[test]
fn too_many_places_are_forgotten_and_their_numbers_never_given_again() {
    let world = World::with(&[("a.h", "")]);
    let Entry::File(file) = world.entry("", "a.h") else { panic!("no file") };
    let root = world.files.root_dir();
    for number in 0..DIRECTORIES_MAX {
        let _ = world.files.child_dir(root, &number.to_string());
    }
    let (era, generation) = (world.files.era(), world.files.generation());
    world.files.make_room();
    assert_ne!(world.files.era(), era);
    assert_ne!(world.files.generation(), generation);
    assert!(world.files.file_path(file).is_none());
    assert!(world.files.found(file, world.files.begin()).is_err());
    let Entry::File(again) = world.entry("", "a.h") else { panic!("no file") };
    assert_ne!(again, file);
}

/// A place where daemons that follow each other keep what they know.
struct Line {
    world: World,
    state: TempDir,
}

impl Line {
    fn with(entries: &[(&str, &str)]) -> Line {
        let mut line = Line { world: World::with(entries), state: tempfile::tempdir().expect("a directory") };
        line.next();
        line
    }

    fn kept(&self) -> kiln_store::Kept {
        kiln_store::Kept::new(self.state.path().join("files"), 1, "1", KEPT_BOUNDS)
    }

    /// The next daemon, that has other numbers for names.
    fn next(&mut self) {
        self.world.files = Files::recalling(self.kept(), 1);
        self.world.names = Names::new();
    }

    /// This daemon ends, and another follows.
    fn end(&mut self) {
        self.world.files.save(&self.world.names);
        self.next();
    }

    /// Waits until the clock has passed the times of `name`: status times cannot be set back.
    fn settle(&self, name: &str) {
        let stamp = content::Stamp::of(&rustix::fs::stat(self.world.at(name)).expect("a file"));
        while !stamp.is_settled(now_ns()) {
            std::thread::yield_now();
        }
    }

    fn directives(&self, found: &Found) -> std::sync::Arc<kiln_scan::Directives> {
        self.world.files.directives(found.content, dialect(Language::C), &self.world.names).expect("directives")
    }

    fn is_content(&self, name: &str, text: &str) {
        assert_eq!(self.world.found(name).digest, kiln_cas::Digest::of(text.as_bytes()), "{name}");
    }

    /// Files read, files recalled, contents lexed, contents that had been.
    fn effort(&self) -> [u64; 4] {
        let effort = serde_json::to_value(self.world.files.effort()).expect("numbers");
        ["read", "recalled", "lexed", "lexed_before"].map(|name| effort[name].as_u64().expect("a number"))
    }
}

fn now_ns() -> i128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

const HEADER: &str = "#ifndef A\n#define A\n#include \"b.h\"\n#endif\n";

#[test]
fn the_next_daemon_neither_reads_nor_lexes_what_has_not_changed() {
    let mut line = Line::with(&[("inc/a.h", HEADER), ("inc/b.h", "")]);
    line.settle("inc/b.h");
    let first = line.world.found("inc/a.h");
    let read = kiln_scan::directives(HEADER.as_bytes(), dialect(Language::C), &line.world.names).expect("directives");
    assert_eq!(*line.directives(&first), read);
    line.world.found("inc/b.h");
    assert_eq!(line.effort(), [2, 0, 1, 0]);
    for _ in 0..2 {
        line.end();
        let second = line.world.found("inc/a.h");
        assert_eq!((second.digest, second.stamp), (first.digest, first.stamp));
        let read = kiln_scan::directives(HEADER.as_bytes(), dialect(Language::C), &line.world.names).expect("directives");
        assert_eq!(*line.directives(&second), read);
        assert_eq!(line.effort(), [0, 1, 0, 1]);
    }
    // Nobody asked for b.h in between.
    line.world.found("inc/b.h");
    assert_eq!(line.effort(), [0, 2, 0, 1]);
    // In another dialect the bytes are needed, and are kept from then on.
    let cxx = |line: &Line| {
        let found = line.world.found("inc/a.h");
        line.world.files.directives(found.content, dialect(Language::Cxx), &line.world.names).expect("directives");
    };
    cxx(&line);
    assert_eq!(line.effort()[2..], [1, 1]);
    line.end();
    cxx(&line);
    line.directives(&line.world.found("inc/a.h"));
    assert_eq!(line.effort(), [0, 1, 0, 2]);
}

#[test]
fn what_changed_between_daemons_is_read() {
    let mut line = Line::with(&[("a.h", "one"), ("b.h", "one"), ("c.h", "one"), ("d.h", "one"), ("e.h", "one")]);
    line.settle("e.h");
    for name in ["a.h", "b.h", "c.h", "d.h", "e.h"] {
        line.is_content(name, "one");
    }
    let time = fs::metadata(line.world.at("a.h")).expect("a file").modified().expect("a time");
    line.end();
    // The same size and an older time; another file with the same in its place; longer; gone.
    line.world.write("a.h", "two");
    let set = |name: &str| {
        let file = fs::File::options().append(true).open(line.world.at(name)).expect("a file");
        file.set_modified(time).expect("a time");
    };
    set("a.h");
    line.world.write("new", "two");
    set("new");
    fs::rename(line.world.at("new"), line.world.at("b.h")).expect("a new name");
    line.world.write("c.h", "longer");
    fs::remove_file(line.world.at("d.h")).expect("removed");
    line.is_content("a.h", "two");
    line.is_content("b.h", "two");
    line.is_content("c.h", "longer");
    assert_eq!(line.world.entry("", "d.h"), Entry::Absent);
    assert_eq!(line.effort(), [3, 0, 0, 0]);
    line.is_content("e.h", "one");
    assert_eq!(line.effort(), [3, 1, 0, 0]);
    // Another rights is another stamp.
    line.end();
    fs::set_permissions(line.world.at("e.h"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("rights");
    assert!(line.world.found("e.h").stamp.is_executable());
}

#[test]
fn a_file_that_was_read_while_its_time_was_fresh_is_not_kept() {
    let mut shown = 0;
    for round in 0..20 {
        let mut line = Line::with(&[("a.h", "one")]);
        let was_fresh = !line.world.found("a.h").stamp.is_settled(now_ns());
        line.end();
        line.is_content("a.h", "one");
        if was_fresh {
            assert_eq!(line.effort()[..2], [1, 0], "round {round}");
            shown += 1;
        }
        // In the same tick, as far as this machine is fast enough.
        line.end();
        line.world.write("a.h", "two");
        line.is_content("a.h", "two");
    }
    assert!(shown > 0, "no round was fast enough");
}

#[test]
fn records_of_files_that_are_gone_are_dropped_and_others_stay() {
    let mut line = Line::with(&[("a.h", "1"), ("b.h", "22"), ("c.h", "333")]);
    line.settle("c.h");
    for name in ["a.h", "b.h"] {
        line.world.found(name);
    }
    line.end();
    fs::remove_file(line.world.at("a.h")).expect("removed");
    line.world.found("c.h");
    line.end();
    let key = postcard::to_stdvec(&(1_u64, line.world.dir.path().to_str().expect("UTF-8"))).expect("a key");
    let folder = record::Folder::decode(line.kept().get(&key).expect("a folder")).expect("a folder");
    assert_eq!(folder.records().map(|record| record.name).collect::<Vec<_>>(), ["b.h", "c.h"]);
}

#[test]
fn what_is_damaged_costs_time_alone() {
    let mut line = Line::with(&[("a.h", HEADER)]);
    line.settle("a.h");
    let found = line.world.found("a.h");
    line.directives(&found);
    line.end();
    let store = line.state.path().join("files");
    let good = fs::read(&store).expect("a file");
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&store, &bad).expect("a file");
        line.next();
        let found = line.world.found("a.h");
        line.directives(&found);
        assert_eq!(line.effort(), [1, 0, 1, 0], "byte {at}");
    }
    fs::write(&store, &good).expect("a file");
    line.next();
    line.is_content("a.h", HEADER);
    assert_eq!(line.effort(), [0, 1, 0, 0]);
}

#[test]
fn another_view_has_records_of_its_own() {
    let mut line = Line::with(&[("a.h", "one")]);
    line.settle("a.h");
    line.is_content("a.h", "one");
    line.end();
    line.world.files = Files::recalling(line.kept(), 2);
    line.is_content("a.h", "one");
    assert_eq!(line.effort()[..2], [1, 0]);
}
