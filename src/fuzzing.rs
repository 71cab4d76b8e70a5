//! What the fuzz targets drive.
