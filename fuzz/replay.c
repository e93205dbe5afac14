// Replays files through LLVMFuzzerTestOneInput where libFuzzer is not linked in.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t cap = 1 << 24;
    uint8_t *data = malloc(cap);
    size_t len = data != NULL ? fread(data, 1, cap, file) : 0;
    fclose(file);
    // an exact copy, so that a sanitizer sees a read past the end
    uint8_t *exact = malloc(len > 0 ? len : 1);
    for (size_t i = 0; exact != NULL && i < len; i++)
        exact[i] = data[i];
    free(data);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (replay(argv[i]) != 0)
            return 1;
    printf("%d inputs replayed\n", argc - 1);
    return 0;
}
