// Jobs that came in at one gateway and are waited for at another. Each inbox/ID says whose reply
// queue will have the answer (its metadata "gateway"); who waits elsewhere asks there to be told
// too. Jobs that nobody waits for elsewhere cost nothing of this
// (docs/decisions/09-waiting-elsewhere.md).
#pragma once

#include "gateway/visit.h"

// A message in our reply queue that is no result. False: nor is it such a question.
bool tells_take(struct gateway *g, struct span message);
void tells_drop(struct gateway *g); // all questions; who asked looks into the store itself

// From inbox/ID: sets v->elsewhere and v->owner.
void tells_find_owner(struct visit *v, const struct s3_object *inbox);
// Asks the gateway that has v's job, if it is known, to tell us.
void tells_ask(struct visit *v);
// Sends a result to the gateway whose reply queue is owner; "": to none.
void tells_send(struct gateway *g, const char *owner, struct span result_json);
