/* tests/cuemu/ptx_parse.cpp - the text of PTX to decoded instructions. See ptx.h. */
#include "tests/cuemu/ptx.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <set>

namespace
{
const size_t GAP_BYTES =
    64; /* behind each array, so that one too far is not the next one's first */

struct parser {
    std::string file, text;
    size_t at;
    int line;
    ptx_kernel *kernel;
    std::map<std::string, int> registers, labels, parameters;
    std::map<std::string, size_t> shared;
    std::set<std::string> families;        /* "%r" of .reg .b32 %r<20> */
    std::set<std::string> dynamic;         /* extern .shared: all of them begin at one place */
    std::vector<std::string> branch_names; /* of kernel->code, "" where it is none */
};

[[noreturn]] void refuse(const parser &p, const std::string &why)
{
    ptx_refuse(p.file, p.line, why);
}

/* ---- text ---- */

std::string read_file(const std::string &path)
{
    std::string text;
    char part[65536];
    size_t bytes;
    FILE *file = fopen(path.c_str(), "r");

    if (file == NULL)
        ptx_refuse(path, 0, "could not open it");
    while ((bytes = fread(part, 1, sizeof part, file)) > 0)
        text.append(part, bytes);
    fclose(file);
    return text;
}

/* Spaces and comments; the end of the text is an empty rest. */
void skip(parser &p)
{
    while (p.at < p.text.size()) {
        if (p.text.compare(p.at, 2, "//") == 0) {
            while (p.at < p.text.size() && p.text[p.at] != '\n')
                p.at++;
        } else if (isspace((unsigned char)p.text[p.at])) {
            p.line += p.text[p.at++] == '\n';
        } else {
            return;
        }
    }
}

bool is_word(char c)
{
    return isalnum((unsigned char)c) || strchr("_$%.", c) != NULL;
}

bool next_is(parser &p, char c)
{
    skip(p);
    return p.at < p.text.size() && p.text[p.at] == c;
}

bool take(parser &p, char c)
{
    if (!next_is(p, c))
        return false;
    p.at++;
    return true;
}

void expect(parser &p, char c)
{
    if (!take(p, c))
        refuse(p, std::string("'") + c + "' is missing");
}

/* A name, a number, or a mnemonic with its modifiers ("ld.global.L1::evict_last.f32"). */
std::string word(parser &p)
{
    size_t from;

    skip(p);
    from = p.at;
    if (p.at < p.text.size() && p.text[p.at] == '-')
        p.at++;
    while (p.at < p.text.size() && (is_word(p.text[p.at]) || p.text.compare(p.at, 2, "::") == 0))
        p.at += is_word(p.text[p.at]) ? 1 : 2;
    if (p.at == from)
        refuse(p, "a word is missing");
    return p.text.substr(from, p.at - from);
}

/* An integer, or 0fXXXXXXXX: a float's bits. False: it is none. */
bool number(const std::string &word, uint64_t *value)
{
    char *end;

    if (word.compare(0, 2, "0f") == 0 || word.compare(0, 2, "0F") == 0)
        *value = strtoull(word.c_str() + 2, &end, 16);
    else if (isdigit((unsigned char)word[0]) || word[0] == '-')
        *value = word[0] == '-' ? (uint64_t)strtoll(word.c_str(), &end, 0)
                                : strtoull(word.c_str(), &end, 0);
    else
        return false;
    return *end == '\0' || strcmp(end, "U") == 0;
}

uint64_t number_here(parser &p)
{
    uint64_t value;

    if (!number(word(p), &value))
        refuse(p, "a number is missing");
    return value;
}

size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

/* ".b32" and the like; 0: no type. */
size_t type_bytes(const std::string &type)
{
    if (type.size() < 3 || type[0] != '.' || strchr("bsuf", type[1]) == NULL)
        return 0;
    size_t bits = (size_t)atoi(type.c_str() + 2);
    return bits == 8 || bits == 16 || bits == 32 || bits == 64 ? bits / 8 : 0;
}

/* ---- declarations ---- */

/* [.ptr .global] [.align N] .TYPE [.ptr .align N] NAME [COUNT]; how many bytes it has. */
std::string declared(parser &p, size_t *bytes, size_t *aligned)
{
    bool of_pointer = false;
    size_t each = 0;

    *aligned = 1;
    for (;;) {
        std::string w = word(p);

        if (w == ".align") {
            size_t to = (size_t)number_here(p);
            if (!of_pointer) /* else: of what the pointer points to */
                *aligned = to;
        } else if (w == ".ptr") {
            of_pointer = true;
        } else if (w == ".global" || w == ".shared") {
            continue;
        } else if (w[0] == '.') {
            each = type_bytes(w);
            if (each == 0)
                refuse(p, "type " + w + " is not known");
        } else {
            size_t count = 1;

            if (take(p, '[')) {
                count = next_is(p, ']') ? 0 : (size_t)number_here(p);
                expect(p, ']');
            }
            if (each > *aligned)
                *aligned = each;
            *bytes = each * count;
            return w;
        }
    }
}

void read_parameters(parser &p)
{
    size_t bytes, aligned;

    expect(p, '(');
    while (!take(p, ')')) {
        std::string w = word(p);

        if (w != ".param")
            refuse(p, "a parameter is missing");
        std::string name = declared(p, &bytes, &aligned);
        p.kernel->parameters_bytes = round_up(p.kernel->parameters_bytes, aligned);
        p.parameters[name] = (int)p.kernel->parameters.size();
        p.kernel->parameters.push_back({p.kernel->parameters_bytes, bytes});
        p.kernel->parameters_bytes += bytes;
        (void)take(p, ',');
    }
}

/* An array of the kernel's own: those of the device lie without gaps, ours with. */
void read_shared(parser &p)
{
    size_t bytes, aligned;
    std::string name = declared(p, &bytes, &aligned);
    ptx_kernel &k = *p.kernel;

    k.shared_bytes = round_up(k.shared_bytes, aligned) + bytes;
    k.dynamic_at = round_up(k.dynamic_at, aligned < 16 ? 16 : aligned);
    p.shared[name] = k.dynamic_at;
    k.shared.push_back({name, k.dynamic_at, bytes});
    k.dynamic_at = round_up(k.dynamic_at + bytes + GAP_BYTES, 16);
    expect(p, ';');
}

/* .reg .TYPE a, %r<20>; a name of an inner { } may come again. */
void read_registers(parser &p)
{
    (void)word(p);
    do {
        std::string name = word(p);

        if (take(p, '<')) {
            (void)number_here(p);
            expect(p, '>');
            p.families.insert(name);
        } else if (p.registers.count(name) == 0) {
            p.registers[name] = p.kernel->registers++;
        }
    } while (take(p, ','));
    expect(p, ';');
}

/* ---- operands ---- */

int register_of(parser &p, const std::string &name)
{
    static const char *const specials[] = {
        "%tid.x",   "%tid.y",   "%tid.z",    "%ntid.x",   "%ntid.y",   "%ntid.z", "%ctaid.x",
        "%ctaid.y", "%ctaid.z", "%nctaid.x", "%nctaid.y", "%nctaid.z", "%laneid"};

    for (int i = 0; i < PTX_SPECIALS; i++)
        if (name == specials[i])
            return i;
    auto known = p.registers.find(name);
    if (known != p.registers.end())
        return known->second;
    if (p.families.count(name.substr(0, name.find_last_not_of("0123456789") + 1)) == 0)
        refuse(p, "operand " + name + " is not known");
    return p.registers[name] = p.kernel->registers++;
}

ptx_value constant(parser &p, uint64_t value)
{
    std::vector<uint64_t> &all = p.kernel->constants;

    for (size_t i = 0; i < all.size(); i++)
        if (all[i] == value)
            return ~(int)i;
    all.push_back(value);
    return ~(int)(all.size() - 1);
}

/* A register, a number, or a name: of shared memory its place in the window, of a parameter its
 * place among them. */
ptx_value value_of(parser &p, const std::string &name)
{
    uint64_t of;

    if (number(name, &of))
        return constant(p, of);
    if (p.shared.count(name) != 0)
        return constant(p, p.shared[name]);
    if (p.parameters.count(name) != 0)
        return constant(p, p.kernel->parameters[(size_t)p.parameters[name]].offset);
    if (p.dynamic.count(name) != 0)
        return constant(p, p.kernel->dynamic_at);
    return register_of(p, name);
}

ptx_value value(parser &p)
{
    return value_of(p, word(p));
}

/* {a, b, ...} */
void read_parts(parser &p, ptx_instruction *i)
{
    expect(p, '{');
    for (i->parts = 0; !take(p, '}'); i->parts++) {
        if (i->parts == 4)
            refuse(p, "more than 4 parts");
        i->part[i->parts] = value(p);
        (void)take(p, ',');
    }
}

/* [x], [x+8], [x+-8] */
void read_address(parser &p, ptx_instruction *i)
{
    expect(p, '[');
    i->in[0] = value(p);
    if (take(p, '+'))
        i->offset = (int64_t)number_here(p);
    expect(p, ']');
}

/* ---- instructions ---- */

std::vector<std::string> pieces(const std::string &name)
{
    std::vector<std::string> all;
    size_t from = 0, dot;

    while ((dot = name.find('.', from)) != std::string::npos) {
        all.push_back(name.substr(from, dot - from));
        from = dot + 1;
    }
    all.push_back(name.substr(from));
    return all;
}

/* ld|st [.volatile] [.SPACE] [.nc] [.vN] .TYPE */
void read_memory(parser &p, ptx_instruction *i, const std::string &name)
{
    std::vector<std::string> all = pieces(name);
    size_t next = 1;
    auto has = [&](const char *what) { return all[next] == what && ++next < all.size(); };

    i->kind = all[0] == "ld" ? PTX_LOAD : PTX_STORE;
    i->counts_as = PTX_MEMORY;
    (void)has("volatile");
    i->space = has("global")   ? PTX_GLOBAL
               : has("shared") ? PTX_SHARED
               : has("param")  ? PTX_PARAMETER
                               : PTX_GENERIC;
    (void)(i->space == PTX_GLOBAL && has("nc"));
    i->parts = has("v2") ? 2 : has("v4") ? 4 : 1;
    i->bytes = (int)type_bytes("." + all[next]);
    i->is_signed = all[next][0] == 's';
    if (i->bytes == 0 || next + 1 != all.size() ||
        (i->space == PTX_PARAMETER && i->kind == PTX_STORE))
        refuse(p, "instruction " + name + " is not known");
    int parts = i->parts;
    if (i->kind == PTX_STORE) {
        read_address(p, i);
        expect(p, ',');
    }
    if (parts > 1)
        read_parts(p, i);
    else
        i->part[0] = value(p);
    if (i->parts != parts)
        refuse(p, name + " of " + std::to_string(i->parts) + " values");
    if (i->kind == PTX_LOAD) {
        expect(p, ',');
        read_address(p, i);
    }
}

/* shfl.sync.MODE.b32 d[|p], a, b, c, mask */
void read_shuffle(parser &p, ptx_instruction *i, const std::string &name)
{
    i->kind = PTX_SHUFFLE;
    i->counts_as = PTX_MOVE;
    if (name == "shfl.sync.bfly.b32")
        i->collective = CUEMU_SHUFFLE_XOR;
    else if (name == "shfl.sync.idx.b32")
        i->collective = CUEMU_SHUFFLE;
    else
        refuse(p, "instruction " + name + " is not known");
    i->out = register_of(p, word(p));
    if (take(p, '|'))
        i->out_too = register_of(p, word(p));
    expect(p, ',');
    i->in[0] = value(p);
    expect(p, ',');
    i->in[1] = value(p);
    expect(p, ',');
    i->part[0] = value(p); /* 31, or the thread refuses */
    expect(p, ',');
    i->in[2] = value(p);
}

/* mov {a, b}, x or mov x, {a, b}; the others are operations. */
bool read_parts_move(parser &p, ptx_instruction *i, const std::string &name)
{
    size_t bytes = name.compare(0, 5, "mov.b") == 0 ? type_bytes(name.substr(3)) : 0;
    size_t start = p.at;
    int start_line = p.line;

    if (bytes == 0)
        return false;
    i->counts_as = PTX_MOVE;
    if (next_is(p, '{')) {
        i->kind = PTX_SPLIT;
        read_parts(p, i);
        expect(p, ',');
        i->in[0] = value(p);
    } else {
        i->kind = PTX_JOIN;
        i->out = register_of(p, word(p));
        expect(p, ',');
        if (!next_is(p, '{')) {
            p.at = start;
            p.line = start_line;
            return false;
        }
        read_parts(p, i);
    }
    if (i->parts == 0 || bytes % (size_t)i->parts != 0)
        refuse(p, name + " of " + std::to_string(i->parts) + " parts");
    i->bytes = (int)(bytes / (size_t)i->parts);
    return true;
}

void read_operation(parser &p, ptx_instruction *i, const std::string &name)
{
    i->kind = PTX_COMPUTE;
    i->operation = ptx_operation_of(name);
    if (i->operation == NULL)
        refuse(p, "instruction " + name + " is not known");
    i->counts_as = i->operation->counts_as;
    i->out = register_of(p, word(p));
    if (i->out < PTX_SPECIALS)
        refuse(p, "a special register is written");
    for (int input = 0; input < i->operation->inputs; input++) {
        expect(p, ',');
        i->in[input] = value(p);
    }
}

void read_instruction(parser &p)
{
    ptx_instruction i = {};
    std::string name, branch;

    i.guard = i.out_too = -1;
    i.line = p.line;
    i.counts_as = PTX_CONTROL;
    if (take(p, '@')) {
        i.guard_negated = take(p, '!');
        i.guard = register_of(p, word(p));
    }
    name = word(p);
    if (name == "bra" || name == "bra.uni") {
        i.kind = PTX_BRANCH;
        branch = word(p);
    } else if (name == "ret" || name == "exit") {
        i.kind = PTX_RETURN;
    } else if (name == "bar.sync" || name == "barrier.sync") {
        i.kind = PTX_BARRIER;
        if (number_here(p) != 0)
            refuse(p, "a barrier other than 0");
    } else if (name == "bar.warp.sync") {
        i.kind = PTX_WARP_BARRIER;
        i.in[0] = value(p);
    } else if (name.compare(0, 5, "shfl.") == 0) {
        read_shuffle(p, &i, name);
    } else if (name.compare(0, 3, "ld.") == 0 || name.compare(0, 3, "st.") == 0) {
        read_memory(p, &i, name);
    } else if (!read_parts_move(p, &i, name)) {
        read_operation(p, &i, name);
    }
    expect(p, ';');
    p.kernel->code.push_back(i);
    p.branch_names.push_back(branch);
}

/* Is a label here? Takes it. */
bool read_label(parser &p)
{
    size_t end = p.at;

    while (end < p.text.size() && is_word(p.text[end]))
        end++;
    if (end == p.at || end >= p.text.size() || p.text[end] != ':')
        return false;
    p.labels[p.text.substr(p.at, end - p.at)] = (int)p.kernel->code.size();
    p.at = end + 1;
    return true;
}

/* A { } within: of inline assembly, whose registers are declared inside. */
void read_body(parser &p)
{
    int depth = 0;

    expect(p, '{');
    for (;;) {
        skip(p);
        if (take(p, '}')) {
            if (depth-- == 0)
                return;
        } else if (take(p, '{')) {
            depth++;
        } else if (next_is(p, '.')) {
            std::string directive = word(p);

            if (directive == ".shared") {
                read_shared(p);
            } else if (directive == ".reg") {
                read_registers(p);
            } else if (directive == ".pragma") {
                while (!take(p, ';'))
                    p.at++;
            } else {
                refuse(p, "directive " + directive + " is not known");
            }
        } else if (!read_label(p)) {
            read_instruction(p);
        }
    }
}

void resolve_branches(parser &p)
{
    ptx_kernel &k = *p.kernel;

    for (size_t i = 0; i < k.code.size(); i++) {
        if (p.branch_names[i].empty())
            continue;
        auto label = p.labels.find(p.branch_names[i]);
        if (label == p.labels.end())
            ptx_refuse(p.file, k.code[i].line, "no label " + p.branch_names[i]);
        k.code[i].target = label->second;
    }
    /* Nothing runs past the end. */
    ptx_instruction end = {};
    end.kind = PTX_RETURN;
    end.guard = end.out_too = -1;
    end.line = p.line;
    end.counts_as = PTX_CONTROL;
    k.code.push_back(end);
    k.executed.assign(k.code.size(), 0);
}

void read_kernel(parser &p, std::map<std::string, ptx_kernel> *kernels)
{
    std::string name = word(p);

    if (kernels->count(name) != 0)
        refuse(p, "kernel " + name + " is there twice");
    p.kernel = &(*kernels)[name];
    *p.kernel = ptx_kernel();
    p.kernel->name = name;
    p.kernel->file = p.file;
    p.kernel->registers = PTX_SPECIALS;
    p.registers.clear();
    p.families.clear();
    p.labels.clear();
    p.parameters.clear();
    p.branch_names.clear();
    auto of_file = p.shared; /* names of other kernels' arrays do no harm */
    read_parameters(p);
    while (!next_is(p, '{')) {
        std::string directive = word(p);

        if (directive != ".maxntid" && directive != ".minnctapersm")
            refuse(p, "directive " + directive + " is not known");
        int of = (int)number_here(p);
        while (take(p, ','))
            of *= (int)number_here(p);
        if (directive == ".maxntid")
            p.kernel->threads_max = of;
    }
    read_body(p);
    resolve_branches(p);
    p.shared = of_file;
}
} /* namespace */

void ptx_refuse(const std::string &file, int line, const std::string &why)
{
    fprintf(stderr, "cuemu: %s:%d: %s\n", file.c_str(), line, why.c_str());
    exit(72);
}

void ptx_parse(const std::string &path, std::map<std::string, ptx_kernel> *kernels)
{
    parser p = {};

    p.file = path;
    p.text = read_file(path);
    p.line = 1;
    for (skip(p); p.at < p.text.size(); skip(p)) {
        std::string w = word(p);

        if (w == ".version" || w == ".address_size" || w == ".target") {
            do
                (void)word(p);
            while (take(p, ','));
        } else if (w == ".visible" || w == ".weak") {
            continue;
        } else if (w == ".entry") {
            read_kernel(p, kernels);
        } else if (w == ".extern") {
            size_t bytes, aligned;

            if (word(p) != ".shared")
                refuse(p, "only shared memory may be extern");
            p.dynamic.insert(declared(p, &bytes, &aligned));
            expect(p, ';');
        } else {
            refuse(p, "directive " + w + " is not known");
        }
    }
}
