/* eval/eval_main.c - `freshet eval FILE`: options, then eval/eval.h, then a report. */
#include "eval/eval_main.h"

#include "eval/eval.h"
#include "eval/eval_report.h"
#include "eval/interactions_line.h"
#include "ops/file.h"
#include "schemas/event_file.h"

#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define WARMUP_MOST    1000000000
#define STEP_MOST      (1 << 20)
#define LINE_MAX_BYTES ((size_t)1 << 20)

static const struct option_row options[] = {
    {"format", OPTION_CHOICE, EVENT_FILE_FORM_CHOICES, "user-item", "of the file"},
    {"map", OPTION_TEXT, "MAP", "", "columns of a csv file: ts=when,user=customer,item=sku"},
    {"protocol", OPTION_TEXT, "PROTOCOL", "leave-one-out", "leave-one-out or time-split"},
    {"preset", OPTION_TEXT, "PRESET", "small", "small, medium or large"},
    {"attention", OPTION_TEXT, "FORM", "silu", "silu or softmax"},
    {"epochs", OPTION_INT, "N", "0", "at most so many; 0: as the file's size allows, 4 to 60"},
    {"patience", OPTION_INT, "N", "0",
     "stop after so many epochs without a better validation; 0: 2 and a fourth of the epochs"},
    {"seed", OPTION_INT, "SEED", "1", "of weights and samples; the same seed, the same figures"},
    {"threads", OPTION_INT, "T", "1", "of training and ranking"},
    {"keep-seen", OPTION_FLAG, NULL, NULL, "rank what the user has chosen before, too"},
    {"baselines", OPTION_FLAG, NULL, NULL, "without a network"},
    {"items", OPTION_TEXT, "FILE", NULL,
     "what items are, for those that training never saw: adds the row model_cold"},
    {"text", OPTION_FLAG, NULL, NULL, "with --items: the network reads texts, too"},
    {"checkpoint", OPTION_TEXT, "FILE", NULL, "save there while training, and go on from it"},
    {"plot", OPTION_TEXT, "FILE", NULL, "write the learning curve there, as SVG"},
    {"learning-rate", OPTION_REAL, "RATE", "0", "0: the preset's"},
    {"warmup", OPTION_INT, "STEPS", "100", "steps in which the learning rate grows; 0: none"},
    {"bf16", OPTION_FLAG, NULL, NULL, "train with products of bf16, on a GPU that multiplies it"},
    {"dropout", OPTION_REAL, "SHARE", "-1", "of what a layer says, below 1; below 0: .1"},
    {"negatives", OPTION_INT, "N", "0", "items beside each next one; 0: the preset's"},
    {"negatives-block", OPTION_INT, "N", "-1",
     "next items that share them; 0: all of a step; below 0: the preset's"},
    {"negatives-power", OPTION_REAL, "P", "-1",
     "drawn in proportion to counts to this power; below 0: the preset's"},
    {"step", OPTION_INT, "N", "0", "next items in a training step; 0: the preset's"},
    {"tau", OPTION_REAL, "T", "0", "temperature of next-item scores; 0: the preset's"},
    {0},
};

/* Which of the names it is, or -1. */
static int choice_of(const char *text, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

/* What the first line looks like: JSON, the header of a csv, or a pair. */
static enum status detect_form(const char *path, enum interactions_form *form, struct error *err)
{
    struct interactions_line reader = {0};
    struct file_lines *lines;
    struct text first = {0};
    struct error none;
    enum status status;

    if (strcmp(path, "-") == 0)
        return error_set(err, ERR_CONFIG, "say --format: standard input is read once");
    status = file_lines_open(&lines, path, LINE_MAX_BYTES, err);
    if (status != OK)
        return status;
    do
        status = file_lines_next(lines, &first, err);
    while (status == OK && first.at != NULL && interactions_line_is_empty(first));
    *form = INTERACTIONS_USER_ITEM;
    if (status == OK && first.at != NULL) {
        while (first.bytes > 0 && (*first.at == ' ' || *first.at == '\t')) {
            first.at++;
            first.bytes--;
        }
        if (first.bytes > 0 && *first.at == '{')
            *form = INTERACTIONS_JSONL;
        else if (interactions_line_begin(&reader, &first, true, NULL, &none) == OK)
            *form = INTERACTIONS_CSV;
        interactions_line_clear(&reader);
    }
    file_lines_close(lines);
    return status;
}

static enum status choose_form(struct command_line *line, struct interactions_options *data,
                               struct error *err)
{
    static const enum interactions_form forms[EVENT_FILE_FORMS] = {
        [EVENT_FILE_JSONL] = INTERACTIONS_JSONL,
        [EVENT_FILE_CSV] = INTERACTIONS_CSV,
        [EVENT_FILE_PAIRS] = INTERACTIONS_USER_ITEM};
    enum event_file_form asked = event_file_form_of(command_text(line, "format"));

    if (asked == EVENT_FILE_DETECT && data->map != NULL && *data->map != 0)
        asked = EVENT_FILE_CSV;
    if (asked == EVENT_FILE_DETECT)
        return detect_form(command_argument(line, 0), &data->form, err);
    data->form = forms[asked];
    return OK;
}

/* Can a file be written there? Better known before the training than after it. */
static bool is_writable(const char *path)
{
    char folder[PATH_MAX];

    if (strlen(path) >= sizeof folder)
        return false;
    memcpy(folder, path, strlen(path) + 1);
    return access(dirname(folder), W_OK) == 0;
}

static int check_files(struct command_line *line)
{
    static const char *const written[] = {"checkpoint", "plot"};

    for (int i = 0; i < 2; i++) {
        const char *path = command_text(line, written[i]);

        if (path != NULL && !is_writable(path))
            return command_misused(line, "--%s \"%.200s\" is in no folder that can be written in",
                                   written[i], path);
    }
    return EXIT_DONE;
}

/* Options into *how. Returns EXIT_DONE, or EXIT_USAGE after saying why. */
static int read_options(struct command_line *line, struct eval_options *how)
{
    static const char *const attentions[] = {"silu", "softmax"};
    int protocol = choice_of(command_text(line, "protocol"), split_protocol_names, SPLIT_PROTOCOLS);
    int attention = choice_of(command_text(line, "attention"), attentions, 2);
    struct model_config config;

    if (protocol < 0)
        return command_misused(line, "--protocol is leave-one-out or time-split");
    if (attention < 0)
        return command_misused(line, "--attention is silu or softmax");
    if (!model_preset(&config, command_text(line, "preset"), 1, 0))
        return command_misused(line, "--preset is small, medium or large");
    if (command_int(line, "threads") < 1 || command_int(line, "threads") > TRAINER_THREADS_MAX)
        return command_misused(line, "--threads is 1 to %d", TRAINER_THREADS_MAX);
    if (command_int(line, "epochs") < 0 || command_int(line, "epochs") > EVAL_EPOCHS_MAX ||
        command_int(line, "patience") < 0 || command_int(line, "patience") > EVAL_EPOCHS_MAX)
        return command_misused(line, "--epochs and --patience are 0 to %d", EVAL_EPOCHS_MAX);
    if (command_int(line, "warmup") < 0 || command_int(line, "warmup") > WARMUP_MOST)
        return command_misused(line, "--warmup is 0 to %d", WARMUP_MOST);
    if (!(command_real(line, "dropout") < 1))
        return command_misused(line, "--dropout is below 1");
    if (command_int(line, "negatives") < 0 ||
        command_int(line, "negatives") > TRAINER_NEGATIVES_MAX)
        return command_misused(line, "--negatives is 0 to %d", TRAINER_NEGATIVES_MAX);
    if (command_int(line, "negatives-block") > STEP_MOST || command_int(line, "step") > STEP_MOST)
        return command_misused(line, "--step and --negatives-block are at most %d", STEP_MOST);
    eval_options_init(how, command_text(line, "preset"));
    how->data.map = command_text(line, "map");
    how->protocol = (enum split_protocol)protocol;
    how->fit.attention = (enum model_attention)attention;
    how->fit.epochs = (int)command_int(line, "epochs");
    how->fit.seed = (uint64_t)command_int(line, "seed");
    how->fit.threads = (int)command_int(line, "threads");
    how->fit.bf16 = command_flag(line, "bf16");
    if (command_real(line, "learning-rate") > 0)
        how->fit.learning_rate = (float)command_real(line, "learning-rate");
    how->fit.warmup_steps = (int)command_int(line, "warmup");
    if (command_real(line, "dropout") >= 0)
        how->fit.dropout = (float)command_real(line, "dropout");
    if (command_int(line, "negatives") > 0)
        how->fit.negatives = (int)command_int(line, "negatives");
    if (command_int(line, "negatives-block") >= 0)
        how->fit.negatives_block = (int)command_int(line, "negatives-block");
    if (command_real(line, "negatives-power") >= 0)
        how->fit.negatives_power = (float)command_real(line, "negatives-power");
    if (command_int(line, "step") > 0)
        how->fit.step_targets = (int)command_int(line, "step");
    if (command_real(line, "tau") > 0)
        how->fit.tau = (float)command_real(line, "tau");
    how->patience = (int)command_int(line, "patience");
    how->keep_seen = command_flag(line, "keep-seen");
    how->baselines = command_flag(line, "baselines");
    how->items = command_text(line, "items");
    how->text = command_flag(line, "text");
    if (how->text && how->items == NULL)
        return command_misused(line, "--text needs --items");
    how->checkpoint = command_text(line, "checkpoint");
    return EXIT_DONE;
}

/* What jsonl needs: the names of fields and actions, from the configuration. */
static enum status read_schema(const struct config *config, struct event_schema **schema,
                               struct rules *rules, struct error *err)
{
    enum status status = event_schema_create(schema, config, err);

    return status == OK ? rules_from_config(rules, *schema, config, 0, err) : status;
}

static int run(struct command_line *line)
{
    static struct eval_result result;
    struct event_schema *schema = NULL;
    struct eval_options how = {0};
    struct rules rules;
    struct error err;
    enum status status = OK;
    int code = read_options(line, &how);

    if (code == EXIT_DONE)
        code = check_files(line);
    if (code != EXIT_DONE)
        return code;
    how.data.stopping = how.fit.stopping = command_stopping;
    (void)command_stopping(); /* from here on a signal is answered, not obeyed at once */
    status = choose_form(line, &how.data, &err);
    if (status == OK && how.data.form == INTERACTIONS_JSONL) {
        const struct config *config = command_config(line);

        if (config == NULL)
            return EXIT_USAGE;
        status = read_schema(config, &schema, &rules, &err);
        how.data.schema = schema;
        how.data.rules = &rules;
    }
    if (status == OK)
        status = eval_run(&result, command_argument(line, 0), &how, &err);
    if (status == OK && command_text(line, "plot") != NULL)
        status = eval_report_svg(&result, command_text(line, "plot"), &err);
    if (status == OK && command_json(line))
        status = eval_report_json(&result, &how, stdout, &err);
    else if (status == OK)
        eval_report_table(&result, &how, stdout);
    event_schema_destroy(schema);
    return status == OK ? EXIT_DONE : command_fail(line, &err);
}

static const struct command eval_command = {
    .name = "eval",
    .summary = "train on a data set and rank all its items, beside the baselines",
    .arguments = "FILE",
    .help =
        "Splits the interactions of FILE, trains a network on the training part with early "
        "stopping on validation, weighs it against counts (late fusion, also on validation), and "
        "ranks every test target among all items, by the model and by the baselines.\n\n"
        "Rows: network is the trained network alone. model is it weighed against popularity, "
        "co-visitation, item_knn and chains, which can be counted where lists are served; it is "
        "eval's own mixture, not the score of a published model. Where one of these features alone "
        "orders validation targets better by more than luck, the model is that one, and the report "
        "says which (fusion_alone in JSON). model_ensemble weighs ftrl and two_tower, too: "
        "baselines that no server has.\n\n"
        "leave-one-out: the last item of each user with at least 3 is the test, the one before it "
        "validation. time-split: the last tenth of all events by time is the test, the tenth "
        "before it validation. Items of the user's training events are masked, unless "
        "--keep-seen.\n"
        "\n"
        "FILE holds `user item` lines in the order of time, csv with a header, or JSON events; "
        "plain or gzip.\n\n"
        "--items FILE: JSON lines of the items topic, csv with a header, or item::text lines. An "
        "item "
        "without a training event then has the mean of the rows of the ten items most like it "
        "(row model_cold), and the best of them the last of ten places (row model_floor).\n\n"
        "Metrics: gauc is the mean of users' AUC, auc that of all candidates together. Of the "
        "chances "
        "of the top 10: ne, log-loss by the entropy of the mean (below 1 says more than the mean); "
        "ece, how far chances are from frequencies; pcoc, sum of chances by choices (1 is right). "
        "coverage: the share of items in anybody's top 10. The fairness gap is between users of "
        "long "
        "and short histories.\n\n"
        "Examples:\n"
        "  freshet eval ml-1m.txt --format user-item --preset small --seed 1 --threads 2 --json\n"
        "  freshet eval ratings.csv --format csv --protocol time-split --plot curve.svg\n"
        "  freshet eval big.csv.gz --format csv --checkpoint big.state",
    .arguments_min = 1,
    .arguments_max = 1,
    .options = options,
    .run = run,
};

const struct command *const eval_commands[] = {&eval_command, NULL};
