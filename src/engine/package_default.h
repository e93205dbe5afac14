// Which model answers when nobody says.
#pragma once

// "xception" once it has been fetched or imported into a folder of search_path (colon-separated,
// see package_search_path), else "demo", which ships. The string is a constant.
const char *package_default_name(const char *search_path);
