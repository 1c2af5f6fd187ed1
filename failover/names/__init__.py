"""DNS that follows the uplink: the box's own resolver told whom to ask, and over which link. See README.md."""
