// What tells two compiles of one source apart, however a tool passes them on: a hash of the options that change the code.
#include <stdint.h>
#include <string.h>

// FNV-1a.
#define HASH_START 0xcbf29ce484222325u

static uint64_t hash_text(uint64_t hash, const char *text) {
    for (;; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
        if (!*text)
            return hash;
    }
}

// Options of the machine and of code generation; those that tools add or take away for preprocessing are left out.
static uint64_t hash_flags(int argc, char **argv) {
    static const char *const passing[] = {"-fpreprocessed", "-fdirectives-only", "-fpch-preprocess", "-fworking-directory", "-fmacro-prefix-map", "-fdebug-prefix-map",
                                          "-fno-diagnostics-show-caret", "-fdiagnostics-color", "-fno-diagnostics-color", "-fno-working-directory", "-frandom-seed"};
    uint64_t hash = HASH_START;
    for (int n = 1; n < argc; n++) {
        const char *word = argv[n];
        if (word[0] != '-' || !strchr("mfO", word[1]) || (word[1] == 'm' && !strcmp(word, "-m")))
            continue;
        int passes = 0;
        for (unsigned k = 0; k < sizeof passing / sizeof *passing; k++)
            passes |= !strncmp(word, passing[k], strlen(passing[k]));
        if (!passes)
            hash = hash_text(hash, word);
    }
    return hash;
}
