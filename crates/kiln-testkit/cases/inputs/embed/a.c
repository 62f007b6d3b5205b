//# title: #embed and __has_embed
//# setup: mkdir data; printf 'bytes\n' > data/blob; printf 'beside\n' > blob
//# run(clang-19): -c -std=c23 a.c -MD
//# run(clang-19): -c -std=c23 a.c --embed-dir=data -DANGLE -MD
//# run(clang-19): -c -std=c23 a.c -DMISSING -MD
//# run(clang-14 gcc): -c a.c -DOLD -MD
#ifdef OLD
int no_embed;
#else
const char data[] = {
#embed "data/blob"
};
const char part[] = {
#embed "blob" limit(2) prefix('a',) suffix(,0)
};
#ifdef ANGLE
const char angle[] = {
#embed <blob>
};
#endif
#if __has_embed("data/blob") == 1 && __has_embed("none") == 0
int has;
#endif
#ifdef MISSING
const char missing[] = {
#embed "missing"
};
#endif
#endif
