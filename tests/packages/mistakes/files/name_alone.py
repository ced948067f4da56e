"""Names a layer and has no strategy."""

layer = "scale"
