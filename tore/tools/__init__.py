"""Entry scripts under their published names; nothing imports them but the `tore` command."""
