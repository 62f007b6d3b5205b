//! What a file of kept values holds, and what becomes of one that is damaged, foreign, full or shared.

use super::*;

const BOUNDS: KeptBounds = KeptBounds { values: 64, bytes: 1 << 20 };

fn origin() -> Origin {
    Origin::new("1", "b", 100)
}

/// A file of these values.
fn file(origin: &Origin, values: &[(&[u8], &[u8])]) -> Vec<u8> {
    let entries = values.iter().map(|(key, value)| (key.to_vec(), Entry::of(value))).collect();
    let mut bytes = Head::encode(origin, &entries).unwrap();
    values.iter().for_each(|(_, value)| bytes.extend_from_slice(value));
    bytes
}

fn seed() -> Vec<u8> {
    file(&origin(), &[(b"a", b"one"), (b"b", b""), (b"c", b"three")])
}

fn whole(values: &[(&[u8], &[u8])]) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    values.iter().map(|(key, value)| (key.to_vec(), Some(value.to_vec()))).collect()
}

fn kept(path: &Path, writer: u64) -> Kept {
    Kept::new(path.to_owned(), writer, "1", BOUNDS)
}

#[test]
fn the_fuzzers_seed_is_a_file() {
    assert_eq!(seed(), include_bytes!("../../../../fuzz/seeds/kept/three"));
    assert_eq!(read_kept(&seed(), &origin(), BOUNDS).unwrap(), whole(&[(b"a", b"one"), (b"b", b""), (b"c", b"three")]));
}

#[test]
fn what_is_damaged_is_not_used() {
    let good = seed();
    let right = read_kept(&good, &origin(), BOUNDS).unwrap();
    for at in 0..good.len() {
        assert_eq!(read_kept(&good[..at], &origin(), BOUNDS), Err(Unusable::Damaged), "cut at {at}");
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        // In the head nothing is believed any more, in a value only that one.
        match read_kept(&bad, &origin(), BOUNDS) {
            Ok(values) => {
                assert!(at >= good.len() - 8, "byte {at} of the head");
                assert_eq!(values.iter().filter(|(key, value)| right[*key] != **value).count(), 1, "byte {at}");
                assert!(values.iter().all(|(key, value)| value.is_none() || *value == right[key]), "byte {at}");
            }
            Err(why) => assert_eq!(why, Unusable::Damaged, "byte {at}"),
        }
    }
    assert_eq!(read_kept(&[&good[..], b"x"].concat(), &origin(), BOUNDS), Err(Unusable::Damaged));
    assert_eq!(read_kept(b"garbage", &origin(), BOUNDS), Err(Unusable::Damaged));
}

#[test]
fn a_file_of_another_time_or_version_is_not_used() {
    let read = |reader: Origin| read_kept(&seed(), &reader, BOUNDS).map(drop);
    assert_eq!(read(Origin::new("2", "b", 100)), Err(Unusable::Version));
    assert_eq!(read(Origin::new("1", "c", 100)), Err(Unusable::Boot));
    assert_eq!(read(Origin::new("1", "b", 99)), Err(Unusable::Clock));
    assert_eq!(read(Origin::new("1", "b", 101)), Ok(()));
}

#[test]
fn lies_within_a_whole_head_are_refused() {
    // A checksum is no proof of sense.
    let sealed = |list: &[u8], len: u64| [&Digest::of(list).hash[..], &len.to_le_bytes(), list].concat();
    let refused = |bytes: &[u8]| assert_eq!(read_kept(bytes, &origin(), BOUNDS), Err(Unusable::Damaged), "{bytes:?}");
    let list = |entries: &[(&[u8], u64, u64, [u8; 32])]| postcard::to_stdvec(&(origin(), entries.to_vec())).unwrap();
    for len in [u64::MAX, u64::MAX / 2, 1] {
        let list = list(&[(b"a", 0, len, [0; 32]), (b"b", 0, len, [0; 32])]);
        refused(&sealed(&list, list.len() as u64));
        refused(&sealed(&list, len));
    }
    let many = vec![(&b"a"[..], 0, 0, Digest::of(b"").hash); BOUNDS.values + 1];
    let many = list(&many);
    refused(&sealed(&many, many.len() as u64));
    let mut endless = postcard::to_stdvec(&origin()).unwrap();
    endless.extend_from_slice(&[0xff; 9]);
    endless.push(1);
    refused(&sealed(&endless, endless.len() as u64));
}

#[test]
fn what_was_used_last_stays() {
    let keys: Vec<Vec<u8>> = (0..4).map(|n| vec![n]).collect();
    let all = || keys.iter().zip([30, 10, 40, 20]).map(|(key, used_s)| (key, used_s, 100)).collect();
    let stays = |values, bytes| newest(all(), KeptBounds { values, bytes }).into_iter().map(|key| key[0]).collect::<Vec<_>>();
    assert_eq!(stays(4, 1000), [2, 0, 3, 1]);
    assert_eq!(stays(2, 1000), [2, 0]);
    assert_eq!(stays(4, 303), [2, 0, 3]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let small = Kept::new(path.clone(), 1, "1", KeptBounds { values: 2, bytes: 100 });
    for key in [b"a", b"b", b"c"] {
        small.put(key.to_vec(), vec![7; 10]);
    }
    small.put(b"d".to_vec(), vec![7; 100]);
    small.save();
    let later = kept(&path, 2);
    let there = [b"a", b"b", b"c", b"d"].iter().filter(|key| later.get(**key).is_some()).count();
    assert_eq!((there, later.get(b"d")), (2, None), "two fit, and one is too large by itself");
}

#[test]
fn processes_that_share_a_file_lose_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let (one, two) = (kept(&path, 1), kept(&path, 2));
    one.put(b"a".to_vec(), b"1".to_vec());
    two.put(b"b".to_vec(), b"2".to_vec());
    one.save();
    two.save();
    let later = kept(&path, 3);
    assert_eq!((later.get(b"a"), later.get(b"b"), later.get(b"c")), (Some(b"1".to_vec()), Some(b"2".to_vec()), None));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
    assert_eq!(one.get(b"a"), Some(b"1".to_vec()), "what it wrote it can still read");
    std::fs::write(&path, b"garbage").unwrap();
    let later = kept(&path, 3);
    assert_eq!(later.get(b"a"), None);
    later.save();
    assert_eq!(std::fs::read(&path).unwrap(), b"garbage", "nothing learned, nothing written");
    later.put(b"c".to_vec(), b"3".to_vec());
    later.save();
    assert_eq!(kept(&path, 4).get(b"c"), Some(b"3".to_vec()), "a damaged file is replaced");
}

#[test]
fn processes_that_write_at_once_lose_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    // Beyond the end of a second: one that waits meanwhile must not take what the other has written for a thing of the future.
    let began_s = now_s();
    std::thread::scope(|scope| {
        for writer in 0..4_u8 {
            let path = &path;
            scope.spawn(move || {
                let own = kept(path, u64::from(writer));
                for round in (0..8).cycle() {
                    own.put(vec![writer, round], vec![writer; 100]);
                    own.save();
                    if round == 7 && now_s() > began_s {
                        break;
                    }
                }
            });
        }
    });
    let later = kept(&path, 9);
    let lost = (0..4).flat_map(|writer| (0..8).map(move |round| vec![writer, round])).filter(|key| later.get(key).is_none());
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_value_that_is_damaged_is_as_if_it_were_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let first = kept(&path, 1);
    first.put(b"a".to_vec(), b"one".to_vec());
    first.put(b"b".to_vec(), b"two".to_vec());
    first.save();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let second = kept(&path, 2);
    assert_eq!((second.get(b"a"), second.get(b"b")), (Some(b"one".to_vec()), None));
    second.put(b"c".to_vec(), b"three".to_vec());
    second.save();
    let third = kept(&path, 3);
    assert_eq!((third.get(b"b"), third.get(b"c")), (None, Some(b"three".to_vec())), "it spreads to nothing else");
}

#[test]
fn what_cannot_be_written_or_read_stands_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = kept(&dir.path().join("no/such/dir"), 1);
    nowhere.put(b"a".to_vec(), b"1".to_vec());
    nowhere.save();
    nowhere.save();
    assert_eq!(nowhere.get(b"a"), Some(b"1".to_vec()));
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(kept(&fifo, 1).get(b"a"), None, "a FIFO is not waited for");
}
