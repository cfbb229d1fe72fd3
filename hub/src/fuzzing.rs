//! What the fuzz targets call. Built with the feature `fuzzing` only.

/// Reads the list of a repository's files as the hub sends it.
///
/// # Panics
/// When a name of the list would leave the folder of the cache.
pub fn listing(bytes: &[u8]) {
    let Ok(listing) = crate::listing::parse(bytes) else { return };
    for file in listing.files {
        let is_inside = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
        assert!(std::path::Path::new(&file.name).components().all(is_inside), "{}", file.name);
    }
}
