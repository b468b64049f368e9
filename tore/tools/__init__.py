"""Entry scripts under their official names; nothing imports them but the `tore` command."""
