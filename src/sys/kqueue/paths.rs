//! Where a program is that was named from the directory which its child is to start in. Pure: bytes in, bytes out.

/// The program's path for a child that enters `directory` first: as a name means it after that, and without being relative.
/// `here` is the directory of this process; it is only asked for where it decides.
///
/// `posix_spawn` of macOS starts a program with a relative path behind an `addchdir` action, and says `ENOENT` all the same:
/// there would be a child that nobody knows. `None`: it cannot be told where it is.
pub(super) fn from_inside(
    directory: &[u8],
    program: &[u8],
    here: impl FnOnce() -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    if program.starts_with(b"/") {
        return Some(program.to_vec());
    }
    let directory = if directory.starts_with(b"/") {
        directory.to_vec()
    } else {
        join(&here().filter(|here| here.starts_with(b"/"))?, directory)
    };
    Some(join(&directory, program))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(directory: &str, program: &str, here: &str) -> Option<String> {
        let here = || Some(here.as_bytes().to_vec());
        let path = from_inside(directory.as_bytes(), program.as_bytes(), here)?;
        String::from_utf8(path).ok()
    }

    #[test]
    fn a_program_is_named_from_the_directory_that_the_child_enters() {
        let cases = [
            ("/srv", "bin/tool", "/srv/bin/tool"),
            ("/srv/", "../tool", "/srv/../tool"),
            ("/", "tool", "/tool"),
            ("sub", "./tool", "/here/sub/./tool"),
            ("..", "tool", "/here/../tool"),
        ];
        for (directory, program, expected) in cases {
            assert_eq!(path(directory, program, "/here").as_deref(), Some(expected));
        }
    }

    /// No path that comes out of it is relative.
    #[test]
    fn a_program_without_a_place_is_not_started_from_another_one() {
        assert_eq!(path("sub", "tool", ""), None);
        assert_eq!(from_inside(b"sub", b"tool", || None), None);
    }

    #[test]
    fn an_absolute_path_is_what_it_was_and_nothing_is_asked() {
        let ask = || -> Option<Vec<u8>> { panic!("nobody needs to know") };
        assert_eq!(
            from_inside(b"sub", b"/bin/sh", ask),
            Some(b"/bin/sh".to_vec())
        );
        assert_eq!(
            from_inside(b"/srv", b"tool", ask),
            Some(b"/srv/tool".to_vec())
        );
    }
}
