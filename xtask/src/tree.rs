//! The text files of the workspace, read once, with paths relative to its root.
//!
//! Tests build small trees in memory instead, so every rule is a function of a `Tree`.

use std::fs;
use std::path::Path;

/// Folders that hold nothing of ours. Hidden ones are left out too, except those in `HIDDEN_OURS`.
const SKIPPED: [&str; 1] = ["target"];
const HIDDEN_OURS: [&str; 3] = [".cargo", ".ci", ".github"];

/// What we read: names or endings of text files.
const TEXT: [&str; 11] = [
    ".rs", ".md", ".toml", ".lock", ".sh", ".txt", ".yml", ".json", ".stderr", ".ci/run", ".go",
];

#[derive(Debug)]
pub(crate) struct File {
    /// Relative to the root, with `/` on every platform.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All files, ordered by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree::default();
        tree.read_folder(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, root: &Path, folder: &str) -> Result<(), String> {
        let describe = |error| format!("cannot read {}: {error}", root.join(folder).display());
        for entry in fs::read_dir(root.join(folder)).map_err(describe)? {
            let entry = entry.map_err(describe)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type().map_err(describe)?;
            if kind.is_dir() {
                let is_foreign = name.starts_with('.') && !HIDDEN_OURS.contains(&name.as_str());
                if !is_foreign && !SKIPPED.contains(&name.as_str()) {
                    self.read_folder(root, &path)?;
                }
            } else if kind.is_file() && TEXT.iter().any(|ending| path.ends_with(ending)) {
                let text = fs::read_to_string(entry.path())
                    .map_err(|error| format!("cannot read {path}: {error}"))?;
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let file = |&(path, text): &(&str, &str)| File {
            path: path.into(),
            text: text.into(),
        };
        Tree {
            files: files.iter().map(file).collect(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// The folders with a `Cargo.toml`, apart from the root's.
    pub(crate) fn packages(&self) -> Vec<&str> {
        self.files
            .iter()
            .filter_map(|file| file.path.strip_suffix("/Cargo.toml"))
            .collect()
    }

    /// The folder of the package that `path` belongs to: the nearest one above it.
    pub(crate) fn package_of(&self, path: &str) -> Option<&str> {
        let is_above = |folder: &&str| {
            path.strip_prefix(folder)
                .is_some_and(|p| p.starts_with('/'))
        };
        self.packages()
            .into_iter()
            .filter(is_above)
            .max_by_key(|folder| folder.len())
    }
}

/// The folder part of a path, empty at the root.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Joins two paths and resolves `.` and `..`.
pub(crate) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_nearest_package() {
        let tree = Tree::of(&[
            ("Cargo.toml", ""),
            ("a/Cargo.toml", ""),
            ("a/b/Cargo.toml", ""),
        ]);
        assert_eq!(tree.package_of("a/src/lib.rs"), Some("a"));
        assert_eq!(tree.package_of("a/b/src/lib.rs"), Some("a/b"));
        assert_eq!(tree.package_of("ab/lib.rs"), None);
    }

    #[test]
    fn join_resolves_dots() {
        assert_eq!(join("a/b", "../c.rs"), "a/c.rs");
        assert_eq!(join("", "./c.rs"), "c.rs");
    }

    #[test]
    fn the_workspace_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask has a parent");
        let tree = Tree::read(root).expect("the workspace is readable");
        assert!(tree.get("xtask/src/tree.rs").is_some());
        assert!(
            tree.files
                .iter()
                .all(|file| !file.path.contains("target/debug"))
        );
    }
}
