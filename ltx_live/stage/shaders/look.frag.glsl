#version 330 core
// Blends two frames and gives them the look; the same maths as look.py. Row 0 of frames and of the result is the top.

in vec2 place;
out vec4 color;

uniform sampler2D frame;
uniform sampler2D incoming;
uniform float mix_amount;
uniform float brightness;
uniform float contrast;
uniform float saturation;
uniform float hue;      // in sixths of the circle
uniform float level;

vec3 turn_hue(vec3 c, float turn) {
    float high = max(c.r, max(c.g, c.b));
    float chroma = high - min(c.r, min(c.g, c.b));
    if (chroma <= 0.0) return c;
    float sector = high == c.r ? (c.g - c.b) / chroma
                 : high == c.g ? 2.0 + (c.b - c.r) / chroma
                               : 4.0 + (c.r - c.g) / chroma;
    vec3 k = mod(vec3(5.0, 3.0, 1.0) + sector + turn, 6.0);
    return high - chroma * clamp(min(k, 4.0 - k), 0.0, 1.0);
}

void main() {
    vec3 c = mix(texture(frame, place).rgb, texture(incoming, place).rgb, mix_amount);
    c = (c + brightness - 0.5) * contrast + 0.5;
    c = mix(vec3(dot(c, vec3(0.2126, 0.7152, 0.0722))), c, saturation);
    c = turn_hue(clamp(c, 0.0, 1.0), hue);
    color = vec4(c * level, 1.0);
}
