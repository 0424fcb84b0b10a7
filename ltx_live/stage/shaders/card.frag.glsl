#version 330 core
// The ground of the title card: a dim violet light from below, falling into black, without visible bands.

in vec2 place;
out vec4 color;

float grain(vec2 p) {
    return fract(sin(dot(p, vec2(12.9898, 78.233))) * 43758.5453) - 0.5;
}

void main() {
    float glow = exp(-4.0 * length((place - vec2(0.5, -0.1)) * vec2(0.9, 1.0)));
    vec3 c = vec3(0.020, 0.018, 0.035) + glow * vec3(0.42, 0.16, 0.60);
    color = vec4(c + grain(gl_FragCoord.xy) / 255.0, 1.0);
}
