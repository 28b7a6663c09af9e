/* A module with commands that no Redis has, for tests/learn.rs. It declares the few functions of the module
 * interface that it uses itself, so that no header of Redis is needed to build it. */
#include <stddef.h>

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleCallReply RedisModuleCallReply;
typedef struct RedisModuleCommand RedisModuleCommand;
typedef int (*Handler)(RedisModuleCtx *, RedisModuleString **, int);

static void (*SetModuleAttribs)(RedisModuleCtx *, const char *, int, int);
static int (*CreateCommand)(RedisModuleCtx *, const char *, Handler, const char *, int, int, int);
static RedisModuleCommand *(*GetCommand)(RedisModuleCtx *, const char *);
static int (*CreateSubcommand)(RedisModuleCommand *, const char *, Handler, const char *, int, int, int);
static int (*WrongArity)(RedisModuleCtx *);
static RedisModuleCallReply *(*Call)(RedisModuleCtx *, const char *, const char *, ...);
static int (*ReplyWithCallReply)(RedisModuleCtx *, RedisModuleCallReply *);
static void (*FreeCallReply)(RedisModuleCallReply *);

static int pass_on(RedisModuleCtx *ctx, RedisModuleCallReply *reply) {
    ReplyWithCallReply(ctx, reply);
    FreeCallReply(reply);
    return 0;
}

/* words.get key */
static int get(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 2) return WrongArity(ctx);
    return pass_on(ctx, Call(ctx, "GET", "s", argv[1]));
}

/* words.put value key */
static int put(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 3) return WrongArity(ctx);
    return pass_on(ctx, Call(ctx, "SET", "!ss", argv[2], argv[1]));
}

/* words.copy from to */
static int copy(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 3) return WrongArity(ctx);
    return pass_on(ctx, Call(ctx, "COPY", "!ss", argv[1], argv[2]));
}

/* words.of length key */
static int length(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    if (argc != 3) return WrongArity(ctx);
    return pass_on(ctx, Call(ctx, "STRLEN", "s", argv[2]));
}

/* words.count and words.move: never reached */
static int refused(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv, (void)argc;
    return pass_on(ctx, Call(ctx, "DBSIZE", ""));
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    int (*get_api)(const char *, void *) = ((void **)ctx)[0];
    (void)argv, (void)argc;
    get_api("RedisModule_SetModuleAttribs", &SetModuleAttribs);
    get_api("RedisModule_CreateCommand", &CreateCommand);
    get_api("RedisModule_GetCommand", &GetCommand);
    get_api("RedisModule_CreateSubcommand", &CreateSubcommand);
    get_api("RedisModule_WrongArity", &WrongArity);
    get_api("RedisModule_Call", &Call);
    get_api("RedisModule_ReplyWithCallReply", &ReplyWithCallReply);
    get_api("RedisModule_FreeCallReply", &FreeCallReply);
    SetModuleAttribs(ctx, "words", 1, 1);
    CreateCommand(ctx, "words.get", get, "readonly", 1, 1, 1);
    CreateCommand(ctx, "words.put", put, "write", 2, 2, 1);
    CreateCommand(ctx, "words.copy", copy, "write", 1, 2, 1);
    CreateCommand(ctx, "words.count", refused, "readonly", 0, 0, 0);
    CreateCommand(ctx, "words.move", refused, "write getkeys-api", 1, 1, 1);
    CreateCommand(ctx, "words.of", NULL, "", 0, 0, 0);
    CreateSubcommand(GetCommand(ctx, "words.of"), "length", length, "readonly", 2, 2, 1);
    return 0;
}
