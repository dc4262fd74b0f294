from nas.settings import parsed as parse_settings
from nas.settings import section

__all__ = ["parse_settings", "section"]
