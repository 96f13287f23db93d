"""From a photo file to a `ReferenceView`."""
