// A package folder in the making: written beside its place under a hidden name, then renamed, so
// that it is there as a whole or not at all, also after power loss.
#pragma once

#include "base/buf.h"

struct package_draft {
    char *name;   // of the package: the folder's last part
    char *folder; // where it will be
    char *temp;   // where it is: pass it to package_open to try it
    int temp_fd;  // holds the lock
    bool replace;
};

// Makes the parent folders and the hidden folder; what a killed predecessor left there is removed.
// ERR_ARGUMENT: the folder's last part cannot be a name. ERR_EXISTS: folder is there already and
// replace is false. ERR_BUSY: somebody else writes it.
enum err package_draft_open(const char *folder, bool replace, struct package_draft *out,
                            struct error *error) MUST_CHECK;
enum err package_draft_add(struct package_draft *d, const char *name, struct span data,
                           struct error *error) MUST_CHECK;
// ERR_EXISTS: it has come into being meanwhile.
enum err package_draft_commit(struct package_draft *d, struct error *error) MUST_CHECK;
// What has been written is opened and run as a user would, then committed.
enum err package_draft_publish(struct package_draft *d, struct error *error) MUST_CHECK;
// Removes what was not committed. Zero-initialised is fine.
void package_draft_release(struct package_draft *d);

// The name of a package that is at this path: its last part, without slashes behind. NULL: it
// cannot be a package's name (letters, digits, '.', '_', '-'). Caller frees.
char *package_name_of(const char *folder);
