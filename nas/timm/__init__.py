"""Everything that speaks timm."""
