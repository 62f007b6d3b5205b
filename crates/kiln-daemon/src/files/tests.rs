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
        let world = World { dir: tempfile::tempdir().expect("a directory"), files: Files::new(), names: Names::new() };
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
